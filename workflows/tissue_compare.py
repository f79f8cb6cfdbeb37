"""Compare a tissue network with the classical method on composites whose truth is known.

    python workflows/tissue_compare.py DATA/test MODEL

DATA as ``tissue_composites.py`` makes it. Prints Dice and IoU of tissue, of all labelled pixels of
a kind of image together, for both.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsiseg.slides.array_reader import ArrayReader
from wsiseg.slides.slide import Slide
from wsiseg.tissue import TissueCode, TissueMask, find_tissue, tissue_by_network
from wsiseg.tissue.brightfield import glass_level

MPP = 8.0


def kinds(pixels: NDArray[np.uint8], classes: NDArray[np.uint8]) -> Iterator[str]:
    """What an image is counted under: how dark its tissue is, and what else is on it."""
    yield "all"
    tissue = classes == 1
    if tissue.any():
        density = -np.log10(np.maximum(pixels[tissue], 1) / glass_level(pixels)).max(axis=1)
        dark = float(np.median(density))
        yield "faint (< 0.05 OD)" if dark < 0.05 else "pale" if dark < 0.12 else "plain (> 0.12 OD)"
    else:
        yield "no tissue"
    if (classes == 2).any():
        yield "with ink or edges"
    if (classes == 255).mean() > 0.05:
        yield "with scattered cells"


def compare(folder: Path, model: str) -> dict[str, NDArray[np.int64]]:
    """For every kind ``[method, (shared, found, true)]``."""
    counts: dict[str, NDArray[np.int64]] = {}
    for path in sorted((folder / "images").glob("*.png")):
        pixels = np.asarray(Image.open(path).convert("RGB"))
        classes = np.asarray(Image.open(folder / "classes" / path.name))
        with Slide(ArrayReader(pixels, MPP, illumination="brightfield")) as slide:
            masks = find_tissue(slide), tissue_by_network(slide, model)
        known, truth = classes != 255, classes == 1
        own = np.array([_counted(mask, known, truth) for mask in masks])
        for kind in kinds(pixels, classes):
            counts[kind] = counts.get(kind, np.zeros((2, 4), np.int64)) + own
    return counts


def _counted(
    mask: TissueMask, known: NDArray[np.bool_], truth: NDArray[np.bool_]
) -> tuple[int, int, int, int]:
    found = (mask.codes == TissueCode.TISSUE) & known
    return (
        int((found & truth).sum()),
        int(found.sum()),
        int((truth & known).sum()),
        int(known.sum()),
    )


def main(folder: Path, model: str) -> None:
    """Print the table."""
    lines = [
        "| images | method | Dice | IoU | missed | false, of glass |",
        "|---|---|---|---|---|---|",
    ]
    for kind, both in sorted(compare(folder, model).items()):
        for name, (shared, found, true, known) in zip(("classical", "network"), both, strict=True):
            dice, iou = 2 * shared / max(found + true, 1), shared / max(found + true - shared, 1)
            missed, false = 1 - shared / max(true, 1), (found - shared) / max(known - true, 1)
            numbers = f"{dice:.3f} | {iou:.3f} | {missed:.1%} | {false:.2%}"
            lines.append(f"| {kind} | {name} | {numbers} |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
