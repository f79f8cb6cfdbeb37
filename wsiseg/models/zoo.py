"""The models that come with the package, by name."""

from __future__ import annotations

from wsiseg.errors import ModelError
from wsiseg.models.segmenter import Segmenter

MODELS: tuple[str, ...] = ("classical-he", "classical-fluo")
"""Names that :func:`load_segmenter` takes."""


def load_segmenter(name: str) -> Segmenter:
    """The segmenter of that name, ready to use.

    Raises
    ------
    ModelError
        If there is none of that name; the message lists those there are.
    """
    # Imported on demand: reading the list of models must not compile or load any.
    if name == "classical-he":
        from wsiseg.models.classical.brightfield import BrightfieldSegmenter

        return BrightfieldSegmenter()
    if name == "classical-fluo":
        from wsiseg.models.classical.fluorescence import FluorescenceSegmenter

        return FluorescenceSegmenter()
    raise ModelError(f"there is no model {name!r}; there are {', '.join(MODELS)}")
