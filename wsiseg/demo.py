"""A demonstration slide: a pyramid of real pixels, made on the spot, without any download.

The pixels come from one real photograph that is part of scikit-image,
``skimage.data.immunohistochemistry()``: 512 x 512 px of colonic glands, FHL2 protein revealed
with DAB, counterstained with haematoxylin, acquired at the Center for Microscopy And Molecular
Imaging (CMMI); scikit-image documents "no known copyright restrictions". Mirrored and turned
pieces of it are joined along cuts of least difference (image quilting, Efros and Freeman 2001),
so that nuclei, glands and stroma run on across the joints. The piece of tissue so made has a
ragged outline and lies on white, slightly noisy glass; its staining varies slowly across the
slide, as real staining does.

Claimed pixel size: the source's is not documented. :data:`DEMO_MPP`, 0.5 µm/px, is the common
size at which its nuclei are as large as such nuclei are. Measured on the source, single stromal
nuclei are 7 x 13 px (medians of the axes; 3.6 x 6.6 µm) and the columnar ones of the glands
about 12 x 24 px (6 x 12 µm). Areas in µm² of the demonstration are plausible, not measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import skimage.data
import tifffile
from numba import njit
from numpy.typing import NDArray
from PIL import Image

from wsiseg.errors import ConfigurationError
from wsiseg.files import writing
from wsiseg.geometry import Box

DEMO_MPP = 0.5
"""Pixel size claimed for level 0, in µm/px."""

_TILE_PX = 256
_LEVEL_FACTOR = 4
_SMALLEST_LEVEL_PX = 512
_JPEG_QUALITY = 80
_SIDES_PX = (1024, 16384)

_PIECE_PX = 288
_OVERLAP_PX = 80
_STEP_PX = _PIECE_PX - _OVERLAP_PX
_COARSE = 4
_CANDIDATES = 400
_TURNS_DEGREES = (15, 30, 45, 60, 75)
_FEATHER_PX = 4.0

_BAND_PX = 512
_FIELD_PX = 8
_EDGE_SOFTNESS_PX = 3.0
_GLASS = (242.0, 241.0, 239.0)
_GLASS_NOISE = 1.1
_STAIN_GAINS = np.linspace(0.8, 1.25, 91)

_Rgb = NDArray[np.uint8]
_Field = NDArray[np.float32]


def write_demo_slide(path: Path, *, side_px: int = 6144, seed: int = 20) -> Path:
    """Write the demonstration slide, a tiled pyramidal JPEG TIFF, and return ``path``.

    The same arguments give the same pixels. Every level is a page of its own with its pixel
    size in the resolution tags (pixels a centimetre), the form that OpenSlide and tiffslide
    both read as a generic tiled TIFF with levels and mpp.

    Parameters
    ----------
    path
        File to write, replaced if it exists.
    side_px
        Width and height of level 0: a multiple of 256 from 1024 to 16384.
    seed
        Choice of pieces, outline and noise.

    Raises
    ------
    ConfigurationError
        If ``side_px`` is out of range.
    StoreError
        If the file cannot be written.
    """
    low, high = _SIDES_PX
    if side_px % _TILE_PX or not low <= side_px <= high:
        raise ConfigurationError(
            f"a demonstration slide of {side_px} px cannot be made: its side must be a multiple "
            f"of {_TILE_PX} from {low} to {high}"
        )
    rng = np.random.default_rng(seed)
    pixels = _quilt(skimage.data.immunohistochemistry(), side_px, rng)
    _stain_and_mount(pixels, rng)
    with writing(path) as temporary, tifffile.TiffWriter(temporary) as file:
        for downsample, level in _levels(pixels):
            per_centimetre = 10_000 / (DEMO_MPP * downsample)
            file.write(
                level,
                subfiletype=0 if downsample == 1 else 1,
                tile=(_TILE_PX, _TILE_PX),
                photometric="rgb",
                compression="jpeg",
                compressionargs={"level": _JPEG_QUALITY},
                subsampling=(2, 2),
                resolution=(per_centimetre, per_centimetre),
                resolutionunit="CENTIMETER",
                description="wsiseg demonstration slide, joined from pieces of the picture "
                "immunohistochemistry of scikit-image",
                software=False,
                metadata=None,
            )
    return path


def _levels(pixels: _Rgb) -> Iterator[tuple[int, _Rgb]]:
    """``(downsample, pixels)`` of every level, finest first."""
    downsample = 1
    while True:
        yield downsample, pixels
        if len(pixels) <= _SMALLEST_LEVEL_PX:
            return
        pixels = _reduced(pixels, _LEVEL_FACTOR)
        downsample *= _LEVEL_FACTOR


def _reduced(pixels: _Rgb, factor: int) -> _Rgb:
    side = len(pixels) // factor
    sums = np.zeros((side, side, 3), np.uint16)
    for y in range(factor):
        for x in range(factor):
            sums += pixels[y::factor, x::factor]
    return ((sums + factor**2 // 2) // factor**2).astype(np.uint8)


def _quilt(source: _Rgb, side: int, rng: np.random.Generator) -> _Rgb:
    """uint8 ``[side, side, 3]`` covered with turned and mirrored pieces of ``source``."""
    views = _views(source)
    coarse_views = np.stack([_coarse(view) for view in views])
    steps = -(-(side - _OVERLAP_PX) // _STEP_PX)
    canvas = np.zeros((steps * _STEP_PX + _OVERLAP_PX,) * 2 + (3,), np.uint8)
    offsets = (views.shape[1] - _PIECE_PX) // _COARSE + 1
    limits = np.array([len(views), offsets, offsets])
    for y in range(0, steps * _STEP_PX, _STEP_PX):
        for x in range(0, steps * _STEP_PX, _STEP_PX):
            here = canvas[Box(x, y, x + _PIECE_PX, y + _PIECE_PX).slices()]
            candidates = rng.integers(0, limits, (_CANDIDATES, 3))
            best = _best_fit(_coarse(here), coarse_views, candidates, x > 0, y > 0)
            view, top, left = (int(value) for value in candidates[best] * (1, _COARSE, _COARSE))
            piece = views[view, top : top + _PIECE_PX, left : left + _PIECE_PX]
            _join(here, piece, x > 0, y > 0)
    return canvas[:side, :side]


def _views(source: _Rgb) -> _Rgb:
    """uint8 ``[view, y, x, 3]``: square parts of ``source``, turned and mirrored.

    The corners untouched by resampling, and the middle turned by the angles between the right
    ones too: with right angles alone the best fits are mirror images, and a lattice shows.
    """
    side = int(len(source) / np.sqrt(2)) // _COARSE * _COARSE
    corners = (0, len(source) - side)
    parts = [source[y : y + side, x : x + side] for y in corners for x in corners]
    middle = (len(source) - side) // 2
    for angle in _TURNS_DEGREES:
        turned = Image.fromarray(source).rotate(angle, Image.Resampling.BICUBIC)
        parts.append(np.asarray(turned)[middle : middle + side, middle : middle + side])
    return np.stack(
        [
            np.rot90(flipped, turns)
            for part in parts
            for flipped in (part, part[:, ::-1])
            for turns in range(4)
        ]
    )


def _coarse(pixels: _Rgb) -> NDArray[np.float32]:
    reduced = Image.fromarray(pixels).reduce(_COARSE)
    return np.asarray(reduced, np.float32)


@njit(cache=True)
def _best_fit(
    here: NDArray[np.float32],
    views: NDArray[np.float32],
    candidates: NDArray[np.int64],
    left_joined: bool,
    top_joined: bool,
) -> int:
    """Index of the candidate ``(view, top, left)`` that differs least where it overlaps.

    All in coarse pixels; ``here`` is the place to fill, with neighbours on the left and above
    as said.
    """
    margin = _OVERLAP_PX // _COARSE
    best, least = 0, np.inf
    for index in range(len(candidates)):
        view, top, left = candidates[index]
        cost = 0.0
        for y in range(here.shape[0]):
            for x in range(here.shape[1]):
                if (left_joined and x < margin) or (top_joined and y < margin):
                    for c in range(3):
                        cost += (here[y, x, c] - views[view, top + y, left + x, c]) ** 2
            if cost >= least:
                break
        if cost < least:
            best, least = index, cost
    return best


def _join(here: _Rgb, piece: _Rgb, left_joined: bool, top_joined: bool) -> None:
    """Lay ``piece`` over ``here`` as far as the cuts through the overlaps."""
    left = np.full(len(here), -_OVERLAP_PX)
    top = left.copy()
    if left_joined:
        left = _least_cut(_difference(here[:, :_OVERLAP_PX], piece[:, :_OVERLAP_PX]))
    if top_joined:
        cost = _difference(here[:_OVERLAP_PX], piece[:_OVERLAP_PX])
        top = _least_cut(np.ascontiguousarray(cost.T))
    _blend(here, piece, left, top)


def _difference(one: _Rgb, other: _Rgb) -> NDArray[np.int32]:
    """Sum of squared differences of the channels, ``[y, x]``."""
    difference = one.astype(np.int32) - other
    return np.asarray(np.einsum("yxc,yxc->yx", difference, difference))


@njit(cache=True)
def _least_cut(cost: NDArray[np.int32]) -> NDArray[np.int64]:
    """For every row of ``cost`` the column of the connected path whose sum is least."""
    rows, columns = cost.shape
    total = cost.astype(np.int64)
    for y in range(1, rows):
        for x in range(columns):
            best = total[y - 1, x]
            if x > 0:
                best = min(best, total[y - 1, x - 1])
            if x < columns - 1:
                best = min(best, total[y - 1, x + 1])
            total[y, x] += best
    path = np.empty(rows, np.int64)
    first, last = 0, columns
    for y in range(rows - 1, -1, -1):
        path[y] = first
        for x in range(first, last):
            if total[y, x] < total[y, path[y]]:
                path[y] = x
        first, last = max(path[y] - 1, 0), min(path[y] + 2, columns)
    return path


@njit(cache=True)
def _blend(here: _Rgb, piece: _Rgb, left: NDArray[np.int64], top: NDArray[np.int64]) -> None:
    """Write ``piece`` right of column ``left[y]`` and below row ``top[x]``, softly."""
    height, width = here.shape[:2]
    for y in range(height):
        for x in range(width):
            inside = min(x - left[y], y - top[x]) / _FEATHER_PX + 0.5
            weight = min(max(inside, 0.0), 1.0)
            for c in range(3):
                value = here[y, x, c] * (1 - weight) + piece[y, x, c] * weight
                here[y, x, c] = np.uint8(value + 0.5)


def _stain_and_mount(pixels: _Rgb, rng: np.random.Generator) -> None:
    """Vary the staining of ``pixels`` and replace what lies outside the tissue by glass."""
    side = len(pixels)
    outline = _outline(side // _FIELD_PX, rng)
    stain = _smooth_noise(side // _FIELD_PX, side // _FIELD_PX // 10, rng)
    # Scaling the optical density by a gain is a power of the transmitted fraction.
    fraction = np.arange(256) / max(_GLASS)
    table = max(_GLASS) * fraction ** _STAIN_GAINS[:, None]
    table = np.minimum(np.rint(table), 255).astype(np.uint8)
    middle = len(_STAIN_GAINS) // 2
    for y in range(0, side, _BAND_PX):
        band = pixels[y : y + _BAND_PX]
        rows = (y, y + len(band))
        gain = np.rint(_enlarged(stain, rows, side) * middle / 2.5 + middle)
        gain = np.clip(gain, 0, len(_STAIN_GAINS) - 1).astype(np.uint8)
        inside = np.clip(_enlarged(outline, rows, side) / _EDGE_SOFTNESS_PX + 0.5, 0, 1)
        noise = rng.standard_normal(inside.shape, np.float32)
        _mount(band, table, gain, inside, noise)


@njit(cache=True)
def _mount(band: _Rgb, table: _Rgb, gain: NDArray[np.uint8], inside: _Field, noise: _Field) -> None:
    """Stain ``band`` by the rows of ``table`` and lay it on glass, ``inside`` 0..1."""
    height, width = gain.shape
    for y in range(height):
        for x in range(width):
            weight = inside[y, x]
            for c in range(3):
                stained = table[gain[y, x], band[y, x, c]]
                bare = _GLASS[c] + _GLASS_NOISE * noise[y, x]
                band[y, x, c] = np.uint8(stained * weight + bare * (1 - weight) + 0.5)


def _outline(side: int, rng: np.random.Generator) -> _Field:
    """Signed distance-like field ``[side, side]`` in level-0 px, positive inside the tissue."""
    axis = np.linspace(-1, 1, side, dtype=np.float32)
    height = 0.72 - np.hypot(axis[None, :] / 1.15, axis[:, None])
    for sigma, strength in ((side / 6, 0.16), (side / 16, 0.07), (side / 50, 0.02), (2, 0.003)):
        height += strength * _smooth_noise(side, sigma, rng)
    return np.asarray(height * (side * _FIELD_PX / 2), np.float32)


def _smooth_noise(side: int, sigma: float, rng: np.random.Generator) -> _Field:
    """Noise ``[side, side]`` of mean 0 and standard deviation 1, smooth at ``sigma`` px."""
    frequency = np.fft.fftfreq(side)[:, None] ** 2 + np.fft.rfftfreq(side)[None, :] ** 2
    spectrum = np.fft.rfft2(rng.standard_normal((side, side)))
    spectrum *= np.exp(-2 * np.pi**2 * sigma**2 * frequency)
    noise = np.fft.irfft2(spectrum, (side, side))
    return np.asarray((noise - noise.mean()) / noise.std(), np.float32)


def _enlarged(field: _Field, rows: tuple[int, int], side: int) -> _Field:
    """Rows ``rows`` of ``field`` enlarged to ``side`` px, ``[y, x]``."""
    band = (0, rows[0] / _FIELD_PX, len(field), rows[1] / _FIELD_PX)
    image = Image.fromarray(field).resize(
        (side, rows[1] - rows[0]), Image.Resampling.BILINEAR, box=band
    )
    return np.asarray(image)
