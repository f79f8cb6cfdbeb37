"""Positive and negative nuclei by a threshold of DAB density, against labels.

Usage: python benchmarks/ki67_deepliif.py FOLDER [--models classical-he nuclei-he]

FOLDER holds ``images/*.png`` (RGB at 0.25 µm/px), ``instances/*.png`` (16-bit, one number a
nucleus) and ``classes/*.png`` (1 negative, 2 positive). The density of a nucleus is the mean amount
of DAB over its pixels, by stain vectors measured on its own tile, or those of the literature. The
threshold with the highest Cohen's kappa on some of the tiles is tried on the others; the default
threshold is tried on all. With ``--models`` nuclei are segmented at 0.5 µm/px, and a labelled
nucleus takes the class of the found one that shares most of its pixels (IoU above 0.5).
Six tiles are a smoke test of the path, no measure of accuracy.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsiseg.biomarkers import Thresholds
from wsiseg.models.segmenter import Segmenter
from wsiseg.models.zoo import load_segmenter
from wsiseg.stain import (
    AMOUNT_UNIT,
    Stains,
    amount,
    amount_tables,
    default_stains,
    measure_stains,
)
from wsiseg.statistics import cohen_kappa, confusion

Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Tile:
    """A labelled tile: pixels, nuclei 0..n, positive ones ``[n]``."""

    name: str
    image: NDArray[np.uint8]
    labels: Labels
    positive: NDArray[np.bool_]


def main() -> None:
    """Print tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--models", nargs="*", default=[])
    arguments = parser.parse_args()
    tiles = [read(path) for path in sorted((arguments.folder / "images").glob("*.png"))]
    print("Stains measured on each tile:")
    for tile in tiles:
        found = measure_stains([tile.image])
        told = found.problem or f"{found.kind} {tuple(round(v, 2) for v in found.counterstain)}"
        print(f"  {tile.name:<16} {int(tile.positive.sum()):>4} of {len(tile.positive):>4}  {told}")
    for title, own in (("literature's vectors", False), ("tile's own vectors", True)):
        print(f"\nGiven nuclei, {title}")
        densities = [density(tile.image, tile.labels, stains_of(tile.image, own)) for tile in tiles]
        judge(tiles, densities, [tile.positive for tile in tiles])
    for name in arguments.models:
        segmenter = load_segmenter(name)
        print(f"\nNuclei of {name}, literature's vectors")
        found_labels = [segment(segmenter, tile.image) for tile in tiles]
        judge_found(tiles, found_labels)


def read(path: Path) -> Tile:
    """A tile and its labels."""
    folder = path.parents[1]
    drawn = np.asarray(Image.open(folder / "instances" / path.name), np.int64)
    classes = np.asarray(Image.open(folder / "classes" / path.name), np.int64)
    _, labels = np.unique(drawn, return_inverse=True)
    labels = labels.reshape(drawn.shape)
    if drawn.min() > 0:
        labels += 1
    count = int(labels.max())
    brown = np.bincount(labels.ravel(), (classes == 2).ravel(), count + 1)[1:]
    blue = np.bincount(labels.ravel(), (classes == 1).ravel(), count + 1)[1:]
    image = np.ascontiguousarray(np.asarray(Image.open(path))[..., :3])
    return Tile(path.stem, image, labels, brown > blue)


def stains_of(image: NDArray[np.uint8], own: bool) -> Stains:
    """The tile's own stains, or the literature's with the tile's white."""
    found = measure_stains([image])
    if own and not found.problem and found.kind == "DAB":
        return found
    return default_stains("DAB", found.white)


def density(image: NDArray[np.uint8], labels: Labels, stains: Stains) -> NDArray[np.float64]:
    """Mean amount of DAB of every nucleus ``[n]``."""
    dab = amount(image, amount_tables(stains)[1]) / AMOUNT_UNIT
    count = int(labels.max())
    area = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    return np.bincount(labels.ravel(), dab.ravel(), count + 1)[1:] / np.maximum(area, 1)


def judge(
    tiles: list[Tile], densities: list[NDArray[np.float64]], truth: list[NDArray[np.bool_]]
) -> None:
    """Each half of the tiles chooses the threshold for the other; then the default on all."""
    halves = [list(range(0, len(tiles), 2)), list(range(1, len(tiles), 2))]
    total = np.zeros((2, 2), np.int64)
    for chosen, tried in (halves, halves[::-1]):
        threshold = best_threshold(
            np.concatenate([densities[i] for i in chosen]),
            np.concatenate([truth[i] for i in chosen]),
        )
        table = tried_on(densities, truth, tried, threshold)
        names = ", ".join(tiles[i].name for i in tried)
        print(f"  threshold {threshold:.3f} OD, tried on {names}: kappa {cohen_kappa(table):.3f}")
        total += table
    show("  held-out tiles together", total)
    weak = Thresholds().weak
    show(f"  default threshold {weak:g} OD", tried_on(densities, truth, range(len(tiles)), weak))


def best_threshold(values: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    """The threshold with the highest kappa; of equal ones the middle."""
    candidates = np.round(np.arange(0.02, 1.0, 0.005), 3)
    kappas = np.array(
        [
            cohen_kappa(confusion(positive.astype(int), (values >= t).astype(int), 2))
            for t in candidates
        ]
    )
    best = np.flatnonzero(kappas == np.nanmax(kappas))
    return float(candidates[best[len(best) // 2]])


def tried_on(
    densities: list[NDArray[np.float64]],
    truth: list[NDArray[np.bool_]],
    places: list[int] | range,
    threshold: float,
) -> NDArray[np.int64]:
    """Confusion on some tiles."""
    values = np.concatenate([densities[i] for i in places])
    positive = np.concatenate([truth[i] for i in places])
    return confusion(positive.astype(int), (values >= threshold).astype(int), 2)


def show(title: str, table: NDArray[np.int64]) -> None:
    """Print a confusion and what follows from it."""
    (tn, fp), (fn, tp) = table.tolist()
    total = max(int(table.sum()), 1)
    print(
        f"{title}: TP {tp} FP {fp} FN {fn} TN {tn}; accuracy {(tp + tn) / total:.3f}, "
        f"sensitivity {share(tp, tp + fn)}, specificity {share(tn, tn + fp)}, "
        f"kappa {cohen_kappa(table):.3f}; labelling index {share(tp + fn, total)} by labels, "
        f"{share(tp + fp, total)} found"
    )


def share(part: int, whole: int) -> str:
    """A share in percent."""
    return f"{100 * part / whole:.1f} %" if whole else "-"


def segment(segmenter: Segmenter, image: NDArray[np.uint8]) -> Labels:
    """Nuclei of a tile, found at 0.5 µm/px and enlarged twofold."""
    wide = image.astype(np.uint16)
    half = (wide[::2, ::2] + wide[1::2, ::2] + wide[::2, 1::2] + wide[1::2, 1::2] + 2) // 4
    small = half.astype(np.uint8)
    # Windows of a network have whole strides: the tile is continued by mirror images.
    stride = segmenter.spec.stride
    height, width = small.shape[:2]
    full = np.pad(small, ((0, -height % stride), (0, -width % stride), (0, 0)), mode="reflect")
    statistics = segmenter.calibrate([small])
    (instances,) = segmenter.decode(segmenter.predict(full[None], statistics))
    found = instances.labels[:height, :width].astype(np.int64)
    return found.repeat(2, axis=0).repeat(2, axis=1)


def judge_found(tiles: list[Tile], found: list[Labels]) -> None:
    """Positivity and labelling index of found nuclei, with the default threshold."""
    weak = Thresholds().weak
    total = np.zeros((2, 2), np.int64)
    missed = 0
    for tile, labels in zip(tiles, found, strict=True):
        own = density(tile.image, labels, stains_of(tile.image, False))
        pairs = matched(tile.labels, labels)
        missed += len(tile.positive) - len(pairs)
        truth, mine = tile.positive[pairs[:, 0] - 1], own[pairs[:, 1] - 1] >= weak
        total += confusion(truth.astype(int), mine.astype(int), 2)
        index = 100 * float((own >= weak).mean()) if len(own) else math.nan
        print(
            f"  {tile.name:<16} labels: {len(tile.positive):>4} nuclei, "
            f"{100 * tile.positive.mean():5.1f} %; found: {len(own):>4}, {index:5.1f} %"
        )
    print(f"  {missed} labelled nuclei have no found one with an IoU above 0.5")
    show(f"  matched nuclei, threshold {weak:g} OD", total)


def matched(truth: Labels, found: Labels) -> NDArray[np.int64]:
    """Pairs ``[k, 2]`` of labels with an IoU above one half: no label is in two."""
    width = int(found.max()) + 1
    both = np.bincount((truth * width + found).ravel())
    pairs = np.flatnonzero(both)
    first, second = pairs // width, pairs % width
    shared = both[pairs]
    own, other = np.bincount(truth.ravel()), np.bincount(found.ravel())
    union = own[first] + other[second] - shared
    kept = (first > 0) & (second > 0) & (2 * shared > union)
    return np.stack([first[kept], second[kept]], axis=1)


if __name__ == "__main__":
    main()
