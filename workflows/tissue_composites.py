"""Make the images that the tissue network of the package learnt on, and those it was tested on.

Real tissue, cut out of slides by the classical mask (looked at; what was wrong in it is corrected
below), is laid on glass of other colours, faded, recoloured and turned; ink, bubbles, dust and the
edges of slides are drawn; scattered cells are drawn alone. The truth is known everywhere.

    python workflows/tissue_composites.py SLIDES OUT

SLIDES holds the slides that are named below. OUT gets ``train`` and ``test``, with ``images`` and
``classes`` each (0 background, 1 tissue, 2 artefact, 255 unlabelled), 8 µm a pixel.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from wsiseg.slides.slide import open_slide
from wsiseg.tissue import TissueCode, find_tissue
from wsiseg.tissue.brightfield import glass_level

MPP = 8.0
SIDE = 512
BACKGROUND, TISSUE, ARTEFACT, UNLABELLED = 0, 1, 2, 255

# Name, stated pixel size, and boxes (shares of width and height) in which the mask is wrong.
TRAIN = (
    ("giardia_HE_GT450_lefthalf.svs", None, ()),
    ("CRC-AI-15_X40_IHC.tif", 2.5, ((0.93, 0.0, 1.0, 1.0),)),
)
TEST = (
    ("metaplasia_IHC_trypsin_20x.svs", None, ()),
    ("CMU-1-Small-Region.svs", None, ()),
    ("TCGA-CR-7395-01A-01-TS1.svs", 1.0, ()),
    ("kidney-48-5.tif", 4.0, ()),
)


@dataclass(frozen=True)
class Base:
    """A slide: optical density ``[y, x, 3]``, tissue, and what is known of it at all."""

    pixels: NDArray[np.uint8]
    density: NDArray[np.float32]
    tissue: NDArray[np.bool_]
    known: NDArray[np.bool_]


def read_base(path: Path, mpp: float | None, wrong: tuple[tuple[float, ...], ...]) -> Base:
    """A slide at about 8 µm/px with its mask."""
    with open_slide(path, mpp=mpp) as slide:
        mask = find_tissue(slide)
        pixels = slide.read(mask.frame.box, mask.frame)[..., :3]
    glass = glass_level(pixels)
    density = -np.log10(np.maximum(pixels.astype(np.float32), 1) / glass)
    tissue = mask.codes == TissueCode.TISSUE
    known = mask.codes != TissueCode.TOO_SMALL
    height, width = tissue.shape
    for x0, y0, x1, y1 in wrong:
        known[int(y0 * height) : int(y1 * height), int(x0 * width) : int(x1 * width)] = False
    return Base(pixels, np.maximum(density, 0), tissue & known, known)


def glass(random: np.random.Generator) -> NDArray[np.float32]:
    """Bare glass: a colour, uneven light, the seams of a scanner's stripes, noise."""
    level = random.uniform(215, 254)
    colour = level + random.normal(0, 3, 3)
    field = random.normal(0, 1, (4, 4))
    uneven = ndimage.zoom(field, SIDE / 4, order=3)[:SIDE, :SIDE] * random.uniform(0, 2.5)
    whole = np.minimum(colour, 255)[None, None] + uneven[..., None]
    if random.random() < 0.3:
        period = int(random.integers(20, 90))
        whole += random.normal(0, 1.5, -(-SIDE // period)).repeat(period)[:SIDE, None, None]
    whole += random.normal(0, random.uniform(0.3, 2.5), whole.shape)
    return np.clip(whole, 1, 255).astype(np.float32)


def piece(base: Base, random: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Part of a slide's tissue, turned, scaled and recoloured: density and mask."""
    rows, columns = np.nonzero(base.tissue)
    pick = int(random.integers(len(rows)))
    side = int(random.integers(60, 420))
    top, left = (max(0, int(v) - side // 2) for v in (rows[pick], columns[pick]))
    density = base.density[top : top + side, left : left + side]
    mask = base.tissue[top : top + side, left : left + side]
    zoom = float(np.exp(random.uniform(np.log(0.6), np.log(1.6))))
    density = ndimage.zoom(density, (zoom, zoom, 1), order=1)
    mask = ndimage.zoom(mask.astype(np.uint8), zoom, order=0) > 0
    turns = int(random.integers(4))
    density, mask = np.rot90(density, turns), np.rot90(mask, turns)
    if random.random() < 0.5:
        density, mask = density[:, ::-1], mask[:, ::-1]
    height, width = (min(a, b, SIDE) for a, b in zip(density.shape, mask.shape, strict=False))
    density, mask = density[:height, :width], mask[:height, :width]
    mixing = np.eye(3) + random.normal(0, 0.22, (3, 3))
    if random.random() < 0.35:
        # Stained by one colour alone, as eosin, haematoxylin or DAB.
        mixing = np.outer(np.full(3, 1 / 3), random.uniform(0.15, 1.4, 3))
    fade = float(np.exp(random.uniform(np.log(0.06), np.log(1.3))))
    drawn = np.maximum(density @ mixing.astype(np.float32), 0) * fade
    return np.where(mask[..., None], drawn, 0).astype(np.float32), mask


def composite(
    bases: list[Base], random: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """An image and its classes."""
    bare = glass(random)
    density = np.zeros((SIDE, SIDE, 3), np.float32)
    classes = np.zeros((SIDE, SIDE), np.uint8)
    for _ in range(int(random.integers(0, 5))):
        drawn, mask = piece(bases[int(random.integers(len(bases)))], random)
        height, width = mask.shape
        top, left = int(random.integers(SIDE - height + 1)), int(random.integers(SIDE - width + 1))
        place = np.s_[top : top + height, left : left + width]
        density[place] = np.maximum(density[place], drawn)
        classes[place][mask] = TISSUE
    if random.random() < 0.25:
        _cells(density, classes, random)
    if random.random() < 0.6:
        _dust(density, random)
    if random.random() < 0.3:
        _bubbles(density, random)
    image = bare * 10**-density
    if random.random() < 0.35:
        _ink(image, classes, random)
    if random.random() < 0.3:
        _edge(image, classes, random)
    if random.random() < 0.7:
        image = ndimage.gaussian_filter(image, (random.uniform(0, 0.8),) * 2 + (0,))
    return np.clip(np.rint(image), 0, 255).astype(np.uint8), classes


def _cells(
    density: NDArray[np.float32], classes: NDArray[np.uint8], random: np.random.Generator
) -> None:
    """Scattered cells: those near to others are tissue with what lies between."""
    spread = random.uniform(60, 300)
    middle = random.uniform(0.2, 0.8, 2) * SIDE
    count = int(random.integers(200, 4000))
    spots = np.zeros((SIDE, SIDE), np.float32)
    places = np.rint(random.normal(middle, spread, (count, 2))).astype(int)
    places = places[((places >= 0) & (places < SIDE)).all(1)]
    spots[places[:, 0], places[:, 1]] = random.uniform(0.3, 1.0, len(places))
    soft = ndimage.gaussian_filter(spots, random.uniform(0.6, 1.1))
    colour = random.uniform((0.1, 0.5, 0.1), (1.0, 1.0, 0.6))
    density += (soft[..., None] * colour * random.uniform(0.8, 4.0)).astype(np.float32)
    near = ndimage.distance_transform_edt(spots == 0)
    cells = ndimage.binary_closing(np.pad(near <= 2, 8), iterations=4)[8:-8, 8:-8] | (near <= 2)
    unsure = ~cells & (near <= 12)
    classes[unsure & (classes == BACKGROUND)] = UNLABELLED
    classes[cells] = TISSUE


def _dust(density: NDArray[np.float32], random: np.random.Generator) -> None:
    for _ in range(int(random.integers(3, 40))):
        y, x = random.uniform(0, SIDE, 2)
        size = random.uniform(0.5, 2.5)
        rows, columns = np.mgrid[0:SIDE, 0:SIDE]
        near = np.s_[max(0, int(y) - 8) : int(y) + 9, max(0, int(x) - 8) : int(x) + 9]
        blob = np.exp(-((rows[near] - y) ** 2 + (columns[near] - x) ** 2) / (2 * size**2))
        density[near] += (blob[..., None] * random.uniform(0.03, 0.5)).astype(np.float32)


def _bubbles(density: NDArray[np.float32], random: np.random.Generator) -> None:
    """Grey discs out of focus and rings, as bubbles and drops of mounting medium look."""
    rows, columns = np.mgrid[0:SIDE, 0:SIDE]
    for _ in range(int(random.integers(1, 4))):
        y, x, radius = *random.uniform(0, SIDE, 2), random.uniform(8, 70)
        away = np.hypot(rows - y, columns - x)
        ring = np.exp(-(((away - radius) / random.uniform(1, 3)) ** 2))
        disc = 1 / (1 + np.exp((away - radius) / 2))
        grey = ring * random.uniform(0, 0.2) + disc * random.uniform(0, 0.025)
        density += grey[..., None].astype(np.float32)


def _ink(
    image: NDArray[np.float32], classes: NDArray[np.uint8], random: np.random.Generator
) -> None:
    """Strokes of a pen."""
    drawn = Image.new("L", (SIDE, SIDE))
    pen = ImageDraw.Draw(drawn)
    points = np.cumsum(random.normal(0, 45, (12, 2)), axis=0) + random.uniform(0, SIDE, 2)
    pen.line([(float(x), float(y)) for x, y in points], 255, int(random.integers(6, 34)), "curve")
    share = ndimage.gaussian_filter(np.asarray(drawn, np.float32) / 255, random.uniform(0.5, 2))
    inks = np.array([[30, 110, 60], [20, 40, 140], [25, 25, 25], [170, 25, 40], [70, 170, 170]])
    ink = inks[int(random.integers(len(inks)))] + random.normal(0, 15, 3)
    cover = share * random.uniform(0.6, 1.0)
    image *= (1 - cover)[..., None]
    image += cover[..., None] * np.clip(ink, 0, 255)
    classes[share > 0.4] = ARTEFACT
    classes[(share > 0.03) & (share <= 0.4)] = UNLABELLED


def _edge(
    image: NDArray[np.float32], classes: NDArray[np.uint8], random: np.random.Generator
) -> None:
    """The edge of a slide or cover slip: a dark band or thin grey lines, with a pale beyond."""
    at, wide = int(random.integers(5, 80)), int(random.integers(1, 20))
    dark, beyond = random.uniform(20, 190), random.uniform(200, 255)
    turns = int(random.integers(4))
    rotated, own = np.rot90(image, turns), np.rot90(classes, turns)
    rotated[:, at : at + wide] = rotated[:, at : at + wide] * 0.2 + 0.8 * dark
    rotated[:, :at] = 0.3 * rotated[:, :at] + 0.7 * beyond
    own[:, at : at + wide] = ARTEFACT
    own[:, :at] = BACKGROUND


def write(folder: Path, name: str, image: NDArray[np.uint8], classes: NDArray[np.uint8]) -> None:
    """An image and its classes."""
    for part, values in (("images", image), ("classes", classes)):
        (folder / part).mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).save(folder / part / f"{name}.png")


def main(slides: Path, out: Path) -> None:
    """Make everything."""
    for part, names, count in (("train", TRAIN, 240), ("test", TEST, 80)):
        bases = [read_base(slides / name, mpp, wrong) for name, mpp, wrong in names]
        for (name, _, _), base in zip(names, bases, strict=True):
            classes = np.where(base.tissue, TISSUE, BACKGROUND).astype(np.uint8)
            classes[~base.known] = UNLABELLED
            write(out / f"{part}-slides", Path(name).stem, base.pixels, classes)
        for number in range(count):
            random = np.random.default_rng((number, part == "test"))
            write(out / part, f"{number:04d}", *composite(bases, random))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
