"""Which images of DSB2018_fluo train, choose thresholds and test: nuclei-fluo-splits.json.

    python workflows/split_nuclei_fluo.py DSB2018_fluo scale.csv > workflows/nuclei-fluo-splits.json

``scale.csv`` then states for ``wsiseg evaluate --groups`` the pixel size at which the median
nucleus of an image has the area that it has in the training.

The images come from some ten experiments and nobody says from which. Images of one experiment
resemble each other much more than those of others, so they are told apart by what the pictures
show: the size of the image, its background, and the grain of the background or the median area of
the nuclei where two experiments differ in nothing else. All three have wide gaps between groups.
A group goes to one part as a whole. The groups of less than ten images and the two largest train;
the others, in the order of the hash of their names, test until 15 % of all images do, then choose
thresholds until 8 % do, then train.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

LIGHT = 7
"""5th percentile of the intensities; no image lies between 5 and 10."""

GRAINY = 0.5
"""Deviation from the mean of 3 x 3 pixels, away from nuclei; of the dark images of 256 px none
lies between 0.47 and 0.53."""

LARGE_PX = 1000
"""Median area of the nuclei; of the light images of 696 px none lies between 600 and 1,500."""

TEST, VALIDATION = 0.15, 0.08
FEW, ALWAYS_TRAIN = 10, 2

MEDIAN_UM2 = 34.0
"""``median_area_um2`` of train-nuclei-fluo.toml."""


def group(folder: Path, name: str) -> str:
    """The experiment that an image seems to be from."""
    pixels = np.asarray(Image.open(folder / "images" / name))
    labels = np.asarray(Image.open(folder / "instances" / name))
    shape = f"{pixels.shape[0]}x{pixels.shape[1]}"
    if shape not in ("256x256", "520x696"):
        return shape
    light = np.percentile(pixels, 5) >= LIGHT
    found = f"{shape}-{'light' if light else 'dark'}"
    if shape == "256x256" and not light:
        away = ~ndimage.binary_dilation(labels > 0, iterations=6)
        grain = (pixels - ndimage.uniform_filter(pixels.astype(np.float64), 3))[away].std()
        return f"{found}-{'grainy' if grain >= GRAINY else 'smooth'}"
    if shape == "520x696" and light:
        areas = np.bincount(labels.ravel())[1:]
        return f"{found}-{'large' if np.median(areas[areas > 0]) >= LARGE_PX else 'small'}"
    return found


def split(groups: dict[str, list[str]]) -> dict[str, list[str]]:
    """Names of groups by part."""
    total = sum(map(len, groups.values()))
    by_size = sorted(groups, key=lambda name: (-len(groups[name]), name))
    train = by_size[:ALWAYS_TRAIN] + [name for name in by_size if len(groups[name]) < FEW]
    parts: dict[str, list[str]] = {"train": train, "val": [], "test": []}
    rest = sorted(set(groups) - set(train), key=lambda n: hashlib.sha256(n.encode()).hexdigest())
    for name in rest:
        held = {part: sum(len(groups[g]) for g in parts[part]) / total for part in parts}
        if held["test"] < TEST:
            parts["test"].append(name)
        elif held["val"] < VALIDATION:
            parts["val"].append(name)
        else:
            parts["train"].append(name)
    return parts


def mpp(folder: Path, name: str) -> float:
    """The pixel size of an image in µm/px, by its nuclei."""
    areas = np.bincount(np.asarray(Image.open(folder / "instances" / name)).ravel())[1:]
    return float(np.sqrt(MEDIAN_UM2 / np.median(areas[areas > 0])))


def main() -> None:
    """Write the split to the standard output, and the pixel sizes to a file."""
    folder, scale = Path(sys.argv[1]), Path(sys.argv[2])
    groups: dict[str, list[str]] = {}
    for path in sorted((folder / "images").glob("*.png")):
        groups.setdefault(group(folder, path.name), []).append(f"{folder.name}/{path.stem}")
    lines = [
        f"{Path(key).name},{name},{mpp(folder, f'{Path(key).name}.png'):.6f}"
        for name, keys in groups.items()
        for key in keys
    ]
    scale.write_text("\n".join(["name,experiment,mpp", *lines]) + "\n")
    parts = split(groups)
    found = {part: sorted(key for g in parts[part] for key in groups[g]) for part in parts}
    counts = {part: {g: len(groups[g]) for g in parts[part]} for part in parts}
    sys.stdout.write(json.dumps({"grouped": found, "groups": counts}, indent=1) + "\n")


if __name__ == "__main__":
    main()
