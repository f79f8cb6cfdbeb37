"""The tissue mask of a slide on disk."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from wsiseg.errors import StoreError
from wsiseg.files import writing
from wsiseg.models.semantic.files import SemanticClass
from wsiseg.store.cells import frame_dict, frame_from
from wsiseg.tissue import ClassMap, TissueMask


def write_tissue(path: Path, mask: TissueMask, key: str) -> None:
    """Write a mask, and the map of classes it was made from, as a ``.npz`` without pickles.

    ``key`` is the segment key of the plan it belongs to.
    """
    meta: dict[str, Any] = {
        "segment_key": key,
        "frame": frame_dict(mask.frame),
        "method": mask.method,
        "warnings": list(mask.warnings),
    }
    arrays: dict[str, Any] = {"codes": mask.codes}
    if mask.classes is not None:
        meta["classes"] = _described(mask.classes)
        arrays["strips"] = np.frombuffer(b"".join(mask.classes.strips), np.uint8)
    with writing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, meta=np.frombuffer(json.dumps(meta).encode(), np.uint8), **arrays)


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
                classes=_classes(meta["classes"], arrays["strips"].tobytes())
                if "classes" in meta
                else None,
            )
    except (OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise StoreError(f"cannot read {path} ({error}); delete it and run again") from error


def _described(classes: ClassMap) -> dict[str, Any]:
    return {
        "frame": frame_dict(classes.frame),
        "classes": [entry.model_dump(mode="json") for entry in classes.classes],
        "counts": list(classes.counts),
        "strips": [len(strip) for strip in classes.strips],
        "model": dict(classes.model),
    }


def _classes(described: Mapping[str, Any], strips: bytes) -> ClassMap:
    ends = list(accumulate(described["strips"], initial=0))
    return ClassMap(
        frame=frame_from(described["frame"]),
        classes=tuple(SemanticClass.model_validate(entry) for entry in described["classes"]),
        strips=tuple(strips[start:stop] for start, stop in pairwise(ends)),
        counts=tuple(map(int, described["counts"])),
        model=described["model"],
    )
