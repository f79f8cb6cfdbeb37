"""Changes of colour, sharpness and compression, as between scanners, stains and laboratories.

Images are float32 ``[y, x, 3]``, 0..255. All randomness comes from the generator given.
"""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from wsiseg.stain import HAEMATOXYLIN_EOSIN
from wsiseg.training.config import Augmentation

Picture = NDArray[np.float32]


def augment(
    picture: Picture, strength: Augmentation, random: np.random.Generator
) -> NDArray[np.uint8]:
    """A changed copy, uint8 ``[y, x, 3]``."""
    if random.random() < 0.9:
        picture = _stains(picture, strength, random)
    if random.random() < 0.7:
        picture = _light(picture, strength, random)
    if random.random() < 0.5:
        picture = _saturation(picture, strength, random)
    if random.random() < 0.5:
        picture = _sharpness(picture, strength, random)
    if random.random() < 0.4:
        level = random.uniform(0.0, strength.noise)
        grain = random.standard_normal(picture.shape, np.float32)
        picture = np.add(picture, grain * np.float32(level), dtype=np.float32)
    whole = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
    if random.random() < 0.5:
        whole = _compress(whole, int(random.integers(strength.jpeg[0], strength.jpeg[1] + 1)))
    return whole


def _stains(picture: Picture, strength: Augmentation, random: np.random.Generator) -> Picture:
    """Scale and shift the amounts of the stains, and turn their colours a little."""
    vectors = np.array([*HAEMATOXYLIN_EOSIN, np.cross(*HAEMATOXYLIN_EOSIN)], np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    turned = vectors + random.normal(0.0, strength.stain_turn / 2, (3, 3))
    turned = np.abs(turned[:2])
    turned /= np.linalg.norm(turned, axis=1, keepdims=True)
    wanted = np.vstack([turned, vectors[2:]])
    gains = np.exp(random.uniform(-strength.stain_gain, strength.stain_gain, 3))
    shifts = random.uniform(-strength.stain_shift, strength.stain_shift, 3)
    mixing = (np.linalg.inv(vectors) * gains @ wanted).astype(np.float32)
    density = -np.log((picture + 1) / 256)
    changed = density @ mixing + (shifts @ wanted).astype(np.float32)
    result: Picture = np.clip(256 * np.exp(-changed) - 1, 0, 255).astype(np.float32)
    return result


def _light(picture: Picture, strength: Augmentation, random: np.random.Generator) -> Picture:
    gamma = np.exp(random.uniform(-strength.gamma, strength.gamma))
    gains = 1 + random.uniform(-strength.channel_gain, strength.channel_gain, 3)
    contrast = 1 + random.uniform(-strength.contrast, strength.contrast)
    offset = 255 * random.uniform(-strength.brightness, strength.brightness)
    mean = float(picture.mean())
    bent = 255 * (np.clip(picture, 0, 255) / 255) ** np.float32(gamma)
    changed = (bent - mean) * np.float32(contrast) + np.float32(mean + offset)
    return np.asarray(changed * gains, np.float32)


def _saturation(picture: Picture, strength: Augmentation, random: np.random.Generator) -> Picture:
    share = random.uniform(-strength.saturation, strength.saturation) + 1
    if random.random() < strength.grey:
        share = 0.0
    grey = picture.mean(axis=2, keepdims=True)
    result: Picture = grey + (picture - grey) * np.float32(share)
    return result


def _sharpness(picture: Picture, strength: Augmentation, random: np.random.Generator) -> Picture:
    blurred = random.random() < 0.65
    sigma = random.uniform(0.2, strength.blur_px) if blurred else 1.0
    smooth: Picture = ndimage.gaussian_filter(picture, (sigma, sigma, 0), truncate=2.5)
    if blurred:
        return smooth
    return picture + (picture - smooth) * np.float32(random.uniform(0.0, strength.sharpen))


def _compress(picture: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=quality)
    buffer.seek(0)
    with Image.open(buffer) as image:
        return np.asarray(image.convert("RGB"))
