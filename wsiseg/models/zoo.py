"""The models that come with the package, by name."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from wsiseg.errors import ModelError
from wsiseg.models.segmenter import Segmenter

MODELS: tuple[str, ...] = ("nuclei-he", "classical-he", "classical-fluo")
"""Names that :func:`load_segmenter` takes."""

_BUNDLED = ("nuclei-he",)


def load_segmenter(name: str) -> Segmenter:
    """The segmenter of that name, or of a folder that ``wsiseg train`` wrote, ready to use.

    Raises
    ------
    ModelError
        If there is none of that name (the message lists those there are), or what runs it is
        not installed.
    """
    # Imported on demand: reading the list of models must not compile or load any.
    if name in _BUNDLED:
        return _bundled(name)
    if (Path(name) / "model.json").is_file():
        from wsiseg.models.network.segmenter import NetworkSegmenter

        return NetworkSegmenter(Path(name).resolve())
    if name == "classical-he":
        from wsiseg.models.classical.brightfield import BrightfieldSegmenter

        return BrightfieldSegmenter()
    if name == "classical-fluo":
        from wsiseg.models.classical.fluorescence import FluorescenceSegmenter

        return FluorescenceSegmenter()
    raise ModelError(
        f"there is no model {name!r}; there are {', '.join(MODELS)}, or give the folder of a "
        "trained network"
    )


# The graph is compiled once a process, whichever slide it is for.
@lru_cache(maxsize=len(_BUNDLED))
def _bundled(name: str) -> Segmenter:
    from wsiseg.models.network.segmenter import NetworkSegmenter

    return NetworkSegmenter(Path(__file__).parent / "weights" / name)
