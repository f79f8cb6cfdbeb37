"""What a summary needs of a slide that its report does not have from elsewhere.

Taken once, when the slide is finished, so that a summary of hundreds of slides takes seconds.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from wsiseg.export.overview import write_thumbnail
from wsiseg.pipeline.exports import FILES
from wsiseg.store.cells import StoredCells
from wsiseg.store.folders import SlideFolder

_AREA = "area_um2"


def median_nuclear_area(folder: SlideFolder) -> float | None:
    """Median area of a finished slide's nuclei in µm²; ``None`` without nuclei.

    One column is read: 4 bytes a nucleus.

    Raises
    ------
    StoreError
        If the stored cells cannot be read.
    """
    cells = StoredCells(folder.cells)
    areas = [cells.feature(part, _AREA) for part in range(len(cells.extents))]
    return round(float(np.median(np.concatenate(areas))), 4) if cells.count else None


def thumbnail(folder: SlideFolder) -> Path | None:
    """The slide small, as JPEG: cut from its overview unless that was done before.

    ``None`` where there is no overview to cut it from, or it cannot be read.
    """
    overview, small = folder.root / FILES["overview"], folder.thumbnail
    try:
        made = overview.stat().st_mtime_ns
        if small.exists() and small.stat().st_mtime_ns >= made:
            return small
        with Image.open(overview, formats=("PNG",)) as page:
            page.load()
            write_thumbnail(small, page)
    except (OSError, KeyError, ValueError, Image.DecompressionBombError):
        return None
    return small
