"""The tissue mask of a slide on disk."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np

from wsiseg.errors import StoreError
from wsiseg.files import writing
from wsiseg.store.cells import frame_dict, frame_from
from wsiseg.tissue import TissueMask


def write_tissue(path: Path, mask: TissueMask, key: str) -> None:
    """Write a mask as a compressed ``.npz`` without pickles.

    ``key`` is the segment key of the plan it belongs to.
    """
    meta = {
        "segment_key": key,
        "frame": frame_dict(mask.frame),
        "method": mask.method,
        "warnings": list(mask.warnings),
    }
    with writing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file, codes=mask.codes, meta=np.frombuffer(json.dumps(meta).encode(), np.uint8)
        )


def read_tissue(path: Path, key: str) -> TissueMask:
    """Read a mask back.

    Raises
    ------
    StoreError
        If the file is missing, damaged or belongs to another plan than that of ``key``.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            meta = json.loads(arrays["meta"].tobytes())
            if meta["segment_key"] != key:
                raise ValueError("it belongs to another plan")
            return TissueMask(
                codes=arrays["codes"],
                frame=frame_from(meta["frame"]),
                method=str(meta["method"]),
                warnings=tuple(meta["warnings"]),
            )
    except (OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise StoreError(f"cannot read {path} ({error}); delete it and run again") from error
