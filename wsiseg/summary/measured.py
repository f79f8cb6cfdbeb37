"""What a summary needs of a slide that its report does not have from elsewhere.

Taken once, when the slide is finished, so that a summary of hundreds of slides takes seconds.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from wsiseg.errors import StoreError
from wsiseg.export.overview import slide_panel
from wsiseg.files import writing
from wsiseg.pipeline.exports import FILES
from wsiseg.store.folders import SlideFolder
from wsiseg.store.parquet import column_values

THUMBNAIL_PX = 200
"""Side of a thumbnail at most."""

_AREA = "area_um2"
_QUALITY = 72


def median_nuclear_area(folder: SlideFolder) -> float | None:
    """Median area of a finished slide's nuclei in µm²; ``None`` without nuclei.

    One column is read: 4 bytes a nucleus.

    Raises
    ------
    StoreError
        If the stored cells cannot be read.
    """
    areas: list[NDArray[np.float32]] = []
    for part in sorted(folder.cells.glob("part-*.parquet")):
        try:
            # Unlike read_table, this imports no pandas.
            with pq.ParquetFile(part) as file:
                names = [n for n in file.schema_arrow.names if n.split(":")[-1] == _AREA][:1]
                table = file.read(columns=names)
            areas.extend(column_values(table, name, np.float32) for name in names)
        except (OSError, pa.ArrowException) as error:
            raise StoreError(f"{part} is damaged ({error}); delete it and run again") from error
    if not sum(map(len, areas)):
        return None
    return round(float(np.median(np.concatenate(areas))), 4)


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
            picture = page.convert("RGB").crop(slide_panel(page))
    except (OSError, KeyError, ValueError, Image.DecompressionBombError):
        return None
    picture.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.LANCZOS)
    with writing(small) as temporary:
        picture.save(temporary, format="JPEG", quality=_QUALITY, optimize=True)
    return small
