"""From crops of tiles to what the network reads, plain or changed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wsiseg.models.network.intensity import level_table, measure_range, to_levels
from wsiseg.slides.reader import Pixels
from wsiseg.training.augment import augment
from wsiseg.training.config import Fluorescence, TrainingConfig

Picture = NDArray[np.float32]

SURROUND = 255
"""The level of what lies around a slide: white, and black that glows nowhere."""

_COARSE = 8
"""A background that rises and falls has this many independent values a side at most."""

_HAZE_PX = (4.0, 12.0)
"""Blur of what lies out of focus."""


def plain(picture: Picture, tile: Pixels, config: TrainingConfig) -> NDArray[np.uint8]:
    """A crop of a tile as a run would show it to the network, uint8 ``[y, x, c]``."""
    whole = np.rint(picture)
    if config.model.illumination == "brightfield":
        return np.clip(whole, 0, 255).astype(np.uint8)
    return level_table(*measure_range([tile]))[np.clip(whole, 0, 65535).astype(np.uint16)]


def changed(
    picture: Picture, tile: Pixels, config: TrainingConfig, random: np.random.Generator
) -> NDArray[np.uint8]:
    """The crop as another stain, scanner or laboratory might have shown it."""
    if config.model.illumination == "brightfield":
        return augment(picture, config.augmentation, random)
    dark, bright = measure_range([tile])
    return _glow((picture - np.float32(dark)) / np.float32(bright - dark), config, random)


def _glow(
    shares: Picture, config: TrainingConfig, random: np.random.Generator
) -> NDArray[np.uint8]:
    strength = config.fluorescence
    if random.random() < 0.5:
        shares = _unfocused(shares, strength, random)
    if random.random() < 0.4:
        shares = shares + _uneven(shares.shape, strength, random)
    if random.random() < 0.5:
        shares = _sharpness(shares, strength, random)
    if random.random() < 0.7:
        gamma = np.exp(random.uniform(-strength.gamma, strength.gamma))
        bent: Picture = np.power(np.maximum(shares, 0), np.float32(gamma))
        shares = bent
    if random.random() < 0.5:
        # The grain of a camera: part of it grows with the square root of what glows.
        level = random.uniform(0.0, strength.noise)
        grain = random.standard_normal(shares.shape, np.float32)
        spread = np.sqrt(0.2 + 0.8 * np.clip(shares, 0, 1))
        shares = shares + np.float32(level) * grain * spread
    gain = np.exp(random.uniform(-strength.range, strength.range))
    offset = random.uniform(-strength.offset, strength.offset)
    return to_levels(shares * gain + offset)


def _unfocused(shares: Picture, strength: Fluorescence, random: np.random.Generator) -> Picture:
    sigma = random.uniform(*_HAZE_PX)
    far: Picture = ndimage.gaussian_filter(shares, (sigma, sigma, 0), truncate=2.5)
    return shares + far * np.float32(random.uniform(0.0, strength.haze))


def _uneven(shape: tuple[int, ...], strength: Fluorescence, random: np.random.Generator) -> Picture:
    """A smooth surface of values above 0, ``[y, x, 1]``."""
    coarse = random.random((int(random.integers(2, _COARSE)),) * 2)
    zoom = (shape[0] / coarse.shape[0], shape[1] / coarse.shape[1])
    surface = ndimage.zoom(coarse, zoom, order=1, mode="nearest", grid_mode=True)
    scaled = surface[..., np.newaxis] * random.uniform(0.0, strength.unevenness)
    return np.asarray(scaled, np.float32)


def _sharpness(shares: Picture, strength: Fluorescence, random: np.random.Generator) -> Picture:
    blurred = random.random() < 0.65
    sigma = random.uniform(0.2, strength.blur_px) if blurred else 1.0
    smooth: Picture = ndimage.gaussian_filter(shares, (sigma, sigma, 0), truncate=2.5)
    if blurred:
        return smooth
    return shares + (shares - smooth) * np.float32(random.uniform(0.0, strength.sharpen))
