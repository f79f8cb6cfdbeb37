"""Adding models to the user's own: looked at, tried, and placed whole or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wsiseg.errors import MissingExtraError, ModelError, WsisegError
from wsiseg.models.added import Record, added_models, place, record_of, remove_model, require_name
from wsiseg.models.contents import model_root
from wsiseg.models.pickles import require_plain_tensors
from wsiseg.models.segmenter import ModelSpec
from wsiseg.models.trust import is_trusted, needs_trust, record_trust
from wsiseg.models.zoo import MODELS, format_of, load_segmenter
from wsiseg.plugins import plugins

_TRIED_PX = 256


@dataclass(frozen=True, slots=True)
class Added:
    """A model that was added.

    Attributes
    ----------
    name
        What it is called by from now on.
    path
        Where it lies.
    format
        What it is, for people.
    spec
        What it says of itself; ``None`` where it could not be opened.
    problem
        Why it could not be opened on this computer, if so: a package that is missing.
    """

    name: str
    path: Path
    format: str
    spec: ModelSpec | None
    problem: str = ""


def add_model(path: Path, *, name: str | None = None, trust: bool = False) -> Added:
    """Copy a model into the user's own folder of models.

    Parameters
    ----------
    path
        Its file or folder.
    name
        What it is to be called by; by default as the file or folder is.
    trust
        Trust its maker, where it can run code, from now on.

    Raises
    ------
    ModelError
        If it is no model that can be used, needs trust, or the name is taken.
    """
    if not path.exists():
        raise ModelError(f"{path} does not exist; give the file or folder of a model")
    path = path.resolve()
    # A description is called as its folder is.
    shown = path.parent if path.suffix == ".toml" else path
    called = name or (shown.name if shown.is_dir() else shown.stem)
    require_free(called)
    record = record_of(path, called, path.name)
    return place_model(record, model_root(path), called, trust=trust)


def place_model(record: Record, root: Path, name: str, *, trust: bool) -> Added:
    """Look at the files of a model and place them under a name; ``root`` holds them.

    Raises
    ------
    ModelError
        As :func:`add_model`.
    """
    require_free(name)
    source = root if record.entry == "." else root / record.entry
    for file in record.files:
        require_plain_tensors(root / file)
    format_ = format_of(source)
    dangerous = needs_trust(source)
    if dangerous and not trust and not is_trusted(source):
        raise ModelError(
            f"{source.name} is {format_.NAME}, which can run code on this computer: add it with "
            "--trust if you trust its maker"
        )
    path = place(record, root, name)
    try:
        spec, problem = _tried(name)
    except BaseException:
        remove_model(name)
        raise
    if dangerous:
        record_trust(path)
    return Added(name, path, format_.NAME, spec, problem)


def require_free(name: str) -> None:
    """Refuse a name that cannot be given to a model.

    Raises
    ------
    ModelError
        If it is taken, or cannot be one.
    """
    require_name(name)
    taken = {n.casefold() for n in (*MODELS, *added_models(), *plugins("segmenters"))}
    if name.casefold() in taken:
        raise ModelError(
            f"there is a model {name} already: choose another name with --name, or remove it "
            f"first (wsiseg models remove {name})"
        )


def _tried(name: str) -> tuple[ModelSpec | None, str]:
    """Open the model and run it on one blank window: damaged weights show then at the latest."""
    try:
        segmenter = load_segmenter(name, "cpu")
        spec = segmenter.spec
        side = -(-_TRIED_PX // spec.stride) * spec.stride
        blank = np.full((1, side, side, spec.channels), 255, np.uint8)
        segmenter.decode(segmenter.predict(blank, segmenter.calibrate([])))
    except MissingExtraError as error:
        return None, str(error)
    except WsisegError:
        raise
    except Exception as error:
        told = str(error).splitlines() or [""]
        raise ModelError(
            f"the model {name} cannot be used: it fails on a blank window "
            f"({type(error).__name__}: {told[0]})"
        ) from error
    return spec, ""
