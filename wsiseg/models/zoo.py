"""The models that come with the package, by name."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, cast

from wsiseg.errors import ModelError
from wsiseg.models.device import AUTO, choose_device, is_cuda
from wsiseg.models.segmenter import Segmenter

if TYPE_CHECKING:
    from wsiseg.models.network.files import ModelFolder
    from wsiseg.models.normalised import Method

MODELS: tuple[str, ...] = (
    "nuclei-he",
    "nuclei-he-nc",
    "nuclei-fluo",
    "classical-he",
    "classical-fluo",
)
"""Names that :func:`load_segmenter` takes."""

NORMALISATIONS: tuple[str, ...] = ("macenko", "vahadane", "reinhard")
"""What may follow a name after a ``+``: the colours of every slide are brought to a reference's
before the model sees them (:mod:`wsiseg.models.normalised`)."""

_BUNDLED = ("nuclei-he", "nuclei-he-nc", "nuclei-fluo")
_WEIGHTS = Path(__file__).parent / "weights"


def load_segmenter(name: str, device: str = AUTO) -> Segmenter:
    """The segmenter of that name, or of a folder that ``wsiseg train`` wrote, ready to use.

    ``nuclei-he+macenko`` is the same with the stains normalised, see ``NORMALISATIONS``.

    ``device`` as :func:`wsiseg.models.device.choose_device` takes it. A graphics card that is
    asked for is first needed when pixels come; :func:`wsiseg.models.device.require_device` tells
    beforehand whether it is there.

    Raises
    ------
    ModelError
        If there is none of that name (the message lists those there are), what runs it is not
        installed, or it cannot run on such a device.
    """
    device = settle_device(name, device)
    # Imported on demand: reading the list of models must not compile or load any.
    inner, plus, method = name.rpartition("+")
    if plus and method in NORMALISATIONS:
        from wsiseg.models.normalised import NormalisedSegmenter

        return NormalisedSegmenter(load_segmenter(inner, device), cast("Method", method))
    if name in _BUNDLED:
        return _bundled(name, device)
    if (Path(name) / "model.json").is_file():
        return _network(Path(name).resolve(), device)
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


def settle_device(name: str, device: str) -> str:
    """What the segmenter of that name runs on, ``auto`` settled.

    Raises
    ------
    ModelError
        If it cannot run on such a device.
    """
    inner, plus, method = name.rpartition("+")
    if plus and method in NORMALISATIONS:
        return settle_device(inner, device)
    classical = name in MODELS and name not in _BUNDLED
    if classical and is_cuda(device):
        raise ModelError(f"{name} runs on the processor only: leave out --device {device}")
    return choose_device(device, torch_weights=not classical)


def find_folder(name: str) -> ModelFolder:
    """The folder of a trained network, by the name of one that comes with the package or by path.

    Raises
    ------
    ModelError
        If there is none.
    """
    from wsiseg.models.network.files import ModelFolder

    return ModelFolder.open(_WEIGHTS / name if name in _BUNDLED else Path(name))


# The graph is compiled once a process, whichever slide it is for.
@lru_cache(maxsize=2 * len(_BUNDLED))
def _bundled(name: str, device: str) -> Segmenter:
    return _network(_WEIGHTS / name, device)


def _network(root: Path, device: str) -> Segmenter:
    from wsiseg.models.network.segmenter import NetworkSegmenter

    return NetworkSegmenter(root, runtime="torch" if is_cuda(device) else "openvino", device=device)
