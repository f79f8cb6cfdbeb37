"""One picture through a segmenter, as a small slide of its own, and back to its own pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsiseg.cells.rasterize import paint_order, rasterize
from wsiseg.cells.vectorize import vectorize
from wsiseg.errors import ConfigurationError
from wsiseg.geometry import Box
from wsiseg.models.segmenter import Instances, ModelSpec, Segmenter
from wsiseg.pipeline.plan import choose_frame
from wsiseg.pipeline.prepare import choose_channels
from wsiseg.pipeline.windows import LIMIT
from wsiseg.slides.array_reader import ArrayReader
from wsiseg.slides.reader import Pixels
from wsiseg.slides.slide import Slide

NUCLEUS_UM2 = 22.0
"""Area of a usual nucleus in H&E sections: the median over images of the median area in 43
fields of breast cancer at 0.25 µm/px (Naylor et al., IEEE Trans. Med. Imaging 38, 2019) is 21."""

_MPP_BOUNDS = (0.08, 1.0)


@dataclass(frozen=True, slots=True)
class Predicted:
    """What a segmenter found on a picture.

    Attributes
    ----------
    labels
        uint32 ``[y, x]`` on the picture's own pixels; instance ``i`` has label ``i + 1``.
    class_index
        uint8 ``[n]``: index of the model's class of every instance.
    """

    labels: NDArray[np.uint32]
    class_index: NDArray[np.uint8]


def predict(
    segmenter: Segmenter, pixels: Pixels, mpp: float, name: str, channel: str | None = None
) -> Predicted:
    """Segment one picture as ``wsiseg run`` would segment a slide of the same pixels.

    It is brought to the model's pixel size, the model calibrated on it alone, and its surround
    filled like the surround of a slide. Outlines are traced, quantised to hundredths of a pixel
    and painted back onto the picture; overlaps go to the higher probability.

    Parameters
    ----------
    segmenter
        From :func:`wsiseg.models.zoo.load_segmenter`.
    pixels
        ``[y, x, c]``.
    mpp
        Of the picture in µm/px.
    name
        For messages.
    channel
        For a model of one channel, the channel to read.

    Raises
    ------
    ConfigurationError
        If the picture is too large to be segmented in one piece.
    ModelError, ChannelError, ResolutionError
        If picture and model do not fit.
    """
    spec = segmenter.spec
    reader = ArrayReader(pixels, mpp, illumination=spec.illumination, name=name)
    with Slide(reader) as slide:
        channels = choose_channels(slide, spec, channel)
        frame = choose_frame(slide.level0, spec, name)
        if max(frame.size.width, frame.size.height) > LIMIT:
            raise ConfigurationError(
                f"{name} has {frame.size.width} x {frame.size.height} px at the model's pixel "
                "size, too many for one piece; segment it with wsiseg run and compare the run "
                "directory (--run)"
            )
        window = _window(frame.box, spec)
        statistics = segmenter.calibrate([slide.read(frame.box, frame, channels)])
        pixels = slide.read(window, frame, channels)
        (instances,) = segmenter.decode(segmenter.predict(pixels[None], statistics))
        scale = frame.scale_to(slide.level0)
        return _painted(instances, window, scale, slide.level0.box)


def mpp_of_nuclei(labels: NDArray[np.uint32]) -> float | None:
    """The pixel size at which the median nucleus has :data:`NUCLEUS_UM2`, in µm/px.

    For pictures of unknown scale. It rests on the truth, which real slides do not offer.
    ``None`` where ``labels`` is empty.
    """
    areas = np.bincount(np.unique(labels[labels > 0], return_inverse=True)[1])
    if not len(areas):
        return None
    low, high = _MPP_BOUNDS
    return min(max(math.sqrt(NUCLEUS_UM2 / float(np.median(areas))), low), high)


def _window(box: Box, spec: ModelSpec) -> Box:
    """The box with the model's halo, its sides multiples of the stride."""
    halo = -(-spec.halo // spec.stride) * spec.stride
    width, height = (-(-side // spec.stride) * spec.stride for side in (box.width, box.height))
    return Box(-halo, -halo, width + halo, height + halo)


def _painted(
    instances: Instances, window: Box, scale: tuple[float, float], picture: Box
) -> Predicted:
    traced = vectorize(instances.labels, len(instances), (window.x0, window.y0), scale)
    anchors = np.stack([traced.sum_x / traced.area_px, traced.sum_y / traced.area_px], axis=1)
    order = paint_order(instances.probabilities[traced.index], anchors)
    values = (traced.index + 1).astype(np.uint32)
    labels = rasterize(traced.polygons, values, order, picture, (1.0, 1.0))
    return Predicted(labels, instances.classes)
