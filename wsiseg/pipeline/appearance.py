"""What a slide's tissue looks like, in a few numbers, so that odd slides stand out among many.

Measured on the windows that the model is calibrated on: nothing more is read.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wsiseg.models.segmenter import Statistics
from wsiseg.quality.fields import sharpness
from wsiseg.slides.reader import Illumination, Pixels
from wsiseg.stain import default_stains, density_table, measure_stains

_STEP = 2
_STAIN_PIXELS = 200_000
_STAINED_OD = 0.15


def measure_appearance(samples: Sequence[Pixels], illumination: Illumination) -> Statistics:
    """Sharpness, and how strongly and in which colour the tissue is stained.

    Parameters
    ----------
    samples
        ``[y, x, c]`` windows of tissue in the frame of the segmentation; there may be none.
    illumination
        Of the slide.

    Returns
    -------
    Nothing without samples, else:

    ``sharpness``
        Variance of the Laplacian (Pech-Pacheco et al., "Diatom autofocusing in brightfield
        microscopy: a comparative study", ICPR 2000) over the variance of the intensity, so that
        neither brightness nor contrast of the stain counts; median over the samples. Green
        channel, or the only one; 4-neighbour Laplacian at the frame's pixel size. It compares
        slides at one pixel size: noise raises it, blur lowers it.
    ``signal``
        Fluorescence: mean intensity, 0..1 of the full scale.
    ``density``
        Brightfield: mean optical density of red, green and blue over the pixels whose mean
        density exceeds 0.15, glass at 255.
    ``haematoxylin_od``, ``counterstain_od``
        Their mean amounts over the same pixels by the literature's vectors, see
        :func:`wsiseg.stain.default_stains`: the same for all slides of one counterstain.
    ``haematoxylin``, ``counterstain``, ``brown``, ``stains_measured``
        Unit vectors as measured, 1 where the counterstain is DAB, and 0 where the literature's
        vectors stand in, see :func:`wsiseg.stain.measure_stains`.
    """
    if not samples:
        return {}
    grey = [sample[..., min(1, sample.shape[2] - 1)] for sample in samples]
    # An even window is as blurred as can be.
    sharp = {"sharpness": (float(np.median(np.nan_to_num([sharpness(one) for one in grey]))),)}
    rgb = [sample[..., :3] for sample in samples if sample.dtype == np.uint8]
    if illumination == "fluorescence" or not rgb or rgb[0].shape[2] < 3:
        full = float(np.iinfo(samples[0].dtype).max)
        means = [one.astype(np.float32).mean() for one in grey]
        return {**sharp, "signal": (float(np.mean(means)) / full,)}
    return {**sharp, **_staining([one.astype(np.uint8, copy=False) for one in rgb])}


def _staining(samples: Sequence[NDArray[np.uint8]]) -> dict[str, tuple[float, ...]]:
    stains = measure_stains(samples, most=_STAIN_PIXELS)
    sums, table, count = np.zeros(3), density_table().astype(np.float32), 0
    for sample in samples:
        count += _add_stained(sample[::_STEP, ::_STEP], table, np.float32(_STAINED_OD), sums)
    if not count:
        return {}
    density = sums / count
    amounts = density @ default_stains(stains.kind).unmixing
    return {
        "density": tuple(density.tolist()),
        "haematoxylin_od": (float(amounts[0]),),
        "counterstain_od": (float(amounts[1]),),
        "haematoxylin": stains.haematoxylin,
        "counterstain": stains.counterstain,
        "brown": (1.0 if stains.kind == "DAB" else 0.0,),
        "stains_measured": (0.0 if stains.problem else 1.0,),
    }


@njit(cache=True, nogil=True)
def _add_stained(
    pixels: NDArray[np.uint8],
    table: NDArray[np.float32],
    least: np.float32,
    sums: NDArray[np.float64],
) -> int:
    """Add the densities of the pixels whose mean density exceeds ``least`` to ``sums``; how many
    they are."""
    count = 0
    for y in range(pixels.shape[0]):
        for x in range(pixels.shape[1]):
            red, green, blue = (
                table[pixels[y, x, 0]],
                table[pixels[y, x, 1]],
                table[pixels[y, x, 2]],
            )
            if (red + green + blue) / np.float32(3) > least:
                sums[0] += red
                sums[1] += green
                sums[2] += blue
                count += 1
    return count
