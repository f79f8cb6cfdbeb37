"""The models that come with the package, by name."""

from __future__ import annotations

from pathlib import Path

from wsiseg.errors import ModelError
from wsiseg.models.segmenter import Segmenter

MODELS: tuple[str, ...] = ("nuclei-he", "classical-he", "classical-fluo")
"""Names that :func:`load_segmenter` takes."""


def load_segmenter(name: str) -> Segmenter:
    """The segmenter of that name, or of a folder that ``wsiseg train`` wrote, ready to use.

    Raises
    ------
    ModelError
        If there is none of that name; the message lists those there are.
    MissingExtraError
        If what runs a network is not installed.
    """
    # Imported on demand: reading the list of models must not compile or load any.
    trained = _folder(name)
    if trained is not None:
        from wsiseg.models.network.segmenter import NetworkSegmenter

        return NetworkSegmenter(trained)
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


def _folder(name: str) -> Path | None:
    """Where the files of a trained network lie; ``None`` for a model without weights."""
    if name == "nuclei-he":
        return Path(__file__).parent / "weights" / name
    path = Path(name)
    return path.resolve() if (path / "model.json").is_file() else None
