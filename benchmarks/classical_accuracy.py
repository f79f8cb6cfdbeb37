"""Accuracy of the classical segmenters on labelled nuclei.

Usage: python benchmarks/classical_accuracy.py DATA [--sets NAME ...]

DATA is a folder with one folder a set, each with ``images/*.png`` and ``instances/*.png`` (16-bit,
one number a nucleus) at 0.25 µm/px. Images are brought to 0.5 µm/px by means of 2 x 2 pixels, each
is calibrated on itself, and the predicted labels are enlarged twofold (nearest) and compared at
0.25 µm/px. Scores are means over images: AJI (Kumar et al., IEEE Trans. Med. Imaging 36, 2017), PQ
and F1 at IoU > 0.5 (Kirillov et al., "Panoptic segmentation", CVPR 2019).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsiseg.models.segmenter import Segmenter
from wsiseg.models.zoo import load_segmenter

Labels = NDArray[np.int64]
Scores = tuple[float, float, float]


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    arguments = parser.parse_args()
    print(f"{'set':<18} {'':<16} {'images':>6} {'nuclei':>7} {'AJI':>6} {'PQ':>6} {'F1':>6} Mpx/s")
    for title in arguments.sets:
        folder, model, use, wanted = SETS[title]
        segmenter = load_segmenter(model)
        scores, nuclei, pixels, seconds = [], 0, 0, 0.0
        for image, drawn in read(arguments.data / folder, wanted):
            start = time.perf_counter()
            found = segment(segmenter, image)
            seconds += time.perf_counter() - start
            pixels += found.size
            found = found.repeat(2, axis=0).repeat(2, axis=1)
            truth = consecutive(drawn[: found.shape[0], : found.shape[1]])
            nuclei += int(truth.max())
            if truth.any():
                scores.append(score(truth, found))
        aji, pq, f1 = np.mean(scores, axis=0)
        print(
            f"{title:<18} {use:<16} {len(scores):>6} {nuclei:>7} {aji:>6.3f} {pq:>6.3f} {f1:>6.3f}"
            f" {pixels / seconds / 1e6:>5.1f}",
            flush=True,
        )


def read(folder: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[NDArray[np.uint8], Labels]]:
    """Images at 0.5 µm/px and labels at 0.25 µm/px."""
    for path in sorted((folder / "images").glob("*.png")):
        if wanted(path.stem):
            image = np.asarray(Image.open(path))
            image = image[:, :, None] if image.ndim == 2 else image[:, :, :3]
            labels = np.asarray(Image.open(folder / "instances" / path.name), np.int64)
            yield halved(image), labels


def halved(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Means of 2 x 2 pixels."""
    height, width = image.shape[0] // 2 * 2, image.shape[1] // 2 * 2
    wide = image[:height, :width].astype(np.uint16)
    total = wide[::2, ::2] + wide[1::2, ::2] + wide[::2, 1::2] + wide[1::2, 1::2]
    return ((total + 2) // 4).astype(np.uint8)


def segment(segmenter: Segmenter, image: NDArray[np.uint8]) -> Labels:
    """Labels of one image that is calibrated on itself."""
    statistics = segmenter.calibrate([image])
    (instances,) = segmenter.decode(segmenter.predict(image[None], statistics))
    return instances.labels.astype(np.int64)


def consecutive(labels: Labels) -> Labels:
    """The same instances numbered from 1."""
    values, numbers = np.unique(labels, return_inverse=True)
    return numbers.reshape(labels.shape).astype(np.int64) + int(values[0] != 0)


def score(truth: Labels, found: Labels) -> Scores:
    """AJI, PQ and F1 at IoU > 0.5 of consecutive labels."""
    rows, columns = int(truth.max()) + 1, int(found.max()) + 1
    pairs = np.bincount((truth * columns + found).ravel(), minlength=rows * columns)
    table = pairs.reshape(rows, columns)
    true_area, found_area = table.sum(axis=1)[1:], table.sum(axis=0)[1:]
    common = table[1:, 1:]
    if columns == 1:
        return 0.0, 0.0, 0.0
    joint = true_area[:, None] + found_area[None, :] - common
    iou = common / joint
    best = iou.argmax(axis=1)
    met = iou.max(axis=1) > 0
    every = np.arange(rows - 1)
    unused = np.ones(columns - 1, bool)
    unused[best[met]] = False
    whole = joint[every, best][met].sum() + true_area[~met].sum() + found_area[unused].sum()
    matched = iou > 0.5
    halves = (rows - 1 + columns - 1) / 2
    return (
        float(common[every, best][met].sum() / whole),
        float(iou[matched].sum() / halves),
        float(matched.sum() / halves),
    )


def _odd(name: str) -> bool:
    return int(name[:8], 16) % 2 == 1


def _even(name: str) -> bool:
    return not _odd(name)


TUNED = "used for tuning"
HELD_OUT = "held out"
SETS: dict[str, tuple[str, str, str, Callable[[str], bool]]] = {
    "TNBC 01-06": ("TNBC", "classical-he", TUNED, lambda name: name[:2] <= "06"),
    "DSB2018_HE": ("DSB2018_HE", "classical-he", TUNED, lambda name: True),
    "TNBC 07-09": ("TNBC", "classical-he", HELD_OUT, lambda name: name[:2] > "06"),
    "MoNuSeg_train30": ("MoNuSeg_train30", "classical-he", HELD_OUT, lambda name: True),
    "DSB2018_fluo odd": ("DSB2018_fluo", "classical-fluo", TUNED, _odd),
    "DSB2018_fluo even": ("DSB2018_fluo", "classical-fluo", HELD_OUT, _even),
}


if __name__ == "__main__":
    main()
