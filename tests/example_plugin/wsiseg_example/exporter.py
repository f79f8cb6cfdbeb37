"""Writes the centroids of nuclei as a table of text."""

from __future__ import annotations

from pathlib import Path

from wsiseg.cells.batch import CellSource

SUFFIX = ".tsv"


def write(path: Path, source: CellSource) -> dict[str, int]:
    """One nucleus a line, part by part."""
    rows = 0
    with path.open("w", encoding="utf-8") as file:
        file.write("id\tx_px\ty_px\tclass\n")
        for part in range(len(source.extents)):
            batch = source.read(part)
            names = [source.info.classes[i].name for i in batch.class_index]
            for cell, (x, y), name in zip(batch.ids, batch.centroids, names, strict=True):
                file.write(f"{cell}\t{x:.2f}\t{y:.2f}\t{name}\n")
            rows += len(batch)
    return {"rows": rows}
