"""What models there are, and what is known of each: for lists and for people."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from wsiseg.cells.batch import CellClass
from wsiseg.errors import ModelError, WsisegError
from wsiseg.models.added import FILES, added_models, damaged_files, models_folder, read_record
from wsiseg.models.cellpose.weights import named_models
from wsiseg.models.network.files import CARD, WEIGHTS, ModelFolder
from wsiseg.models.segmenter import ModelSpec
from wsiseg.models.semantic.files import BUNDLED, SemanticFolder, find_semantic
from wsiseg.models.semantic.opening import recognises as is_tissue_network
from wsiseg.models.trust import is_trusted, needs_trust
from wsiseg.models.zoo import (
    MODELS,
    find_model,
    format_of,
    is_plugged,
    load_segmenter,
    names,
    weights_of,
    without_normalisation,
)
from wsiseg.plugins import plugins

Where = Literal["package", "weightless", "added", "plug-in", "path"]

_MAX_CARD = 256 << 10
_SCORES = ("F1@0.5", "AJI", "PQ", "Dice")


@dataclass(frozen=True, slots=True)
class Known:
    """A model and what is known of it.

    Attributes
    ----------
    name
        What it is called by.
    where
        Where it comes from: the package (with weights, or without any), the user's own models,
        a plug-in, or a path that was given.
    what
        Its format, or the package of the plug-in.
    path
        Where it lies, if it has files.
    spec
        What it says of itself; ``None`` where it cannot be opened.
    problem
        Why not.
    card
        The text for people that lies beside it, if any.
    """

    name: str
    where: Where
    what: str
    path: Path | None = None
    spec: ModelSpec | None = None
    problem: str = ""
    card: str = ""

    @property
    def score(self) -> str:
        """The first scores of its card, ``F1@0.5 0.84, AJI 0.60``; empty where there are none."""
        return card_score(self.card)


def known_models() -> Iterator[Known]:
    """Every model that has a name. Those that can run code and are not trusted are not opened."""
    for name in (*names(), *named_models(), *BUNDLED):
        yield known_model(name)


def known_model(name: str) -> Known:
    """What is known of a model, by name or by path; what goes wrong is told, not raised.

    Raises
    ------
    ModelError
        If there is no such model.
    """
    inner, _ = without_normalisation(name)
    if inner in BUNDLED or is_tissue_network(Path(inner)):
        return _tissue_network(inner)
    where = _where(inner)
    if where == "plug-in":
        spec, problem = _opened(name)
        return Known(name, where, plugins("segmenters")[inner].origin, None, spec, problem)
    if where == "weightless":
        spec, problem = _opened(name)
        return Known(name, where, "a rule without weights", None, spec, problem)
    try:
        path = find_model(inner)
        what = format_of(path).NAME
    except ModelError as error:
        if where == "path":
            raise
        return Known(name, where, "damaged", None, None, str(error))
    if needs_trust(path) and not is_trusted(path):
        return Known(name, where, what, path, None, "not trusted: needs --trust", _card(path))
    spec, problem = _opened(name)
    return Known(name, where, what, path, spec, problem, _card(path))


def names_with_files() -> tuple[str, ...]:
    """Names of the models whose files can be compared with digests."""
    return (*(name for name in names() if _where(name) in ("package", "added")), *BUNDLED)


def verify_model(name: str) -> str:
    """Compare the files of a model with the digests that were recorded of them.

    Returns
    -------
    What is wrong; empty where all is right, or the model has no files of its own.

    Raises
    ------
    ModelError
        If there is no model of that name.
    """
    if name in BUNDLED:
        return _verified(find_semantic(name))
    where = _where(name)
    if where == "path" and name not in names():
        raise ModelError(f"{name} is no model with a name; there are {', '.join(names())}")
    if where == "added":
        try:
            record = read_record(name)
        except ModelError as error:
            return str(error)
        wrong = damaged_files(record, models_folder() / name / FILES)
        return "; ".join(f"{file} {what}" for file, what in wrong.items())
    if where == "package":
        return _verified_folder(find_model(name))
    return ""


def card_score(card: str) -> str:
    """The first row of numbers in the first table of a card whose head names a known score."""
    head: list[str] = []
    for line in card.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.lstrip().startswith("|"):
            head = []
        elif not head and set(_SCORES) & set(cells):
            head = cells
        elif head and len(cells) == len(head):
            pairs = zip(head, cells, strict=True)
            found = [(n, c) for n, c in pairs if n in _SCORES and re.fullmatch(r"\d\.\d+", c)]
            if found:
                return ", ".join(f"{name} {value}" for name, value in found)
    return ""


def _where(name: str) -> Where:
    if name in MODELS:
        return "weightless" if weights_of(name) is None else "package"
    if name in added_models():
        return "added"
    return "plug-in" if is_plugged(name) else "path"


def _opened(name: str) -> tuple[ModelSpec | None, str]:
    try:
        return load_segmenter(name, "cpu").spec, ""
    except WsisegError as error:
        return None, str(error)


def _card(path: Path) -> str:
    card = (path if path.is_dir() else path.parent) / CARD
    if not card.is_file():
        return ""
    with card.open("rb") as file:
        return file.read(_MAX_CARD).decode("utf-8", "replace")


def _tissue_network(name: str) -> Known:
    """A network that finds tissue, given with ``--tissue`` and not with ``--model``."""
    where: Where = "package" if name in BUNDLED else "path"
    what = f"a tissue network, for --tissue {name}"
    try:
        folder = find_semantic(name)
    except ModelError as error:
        return Known(name, where, what, Path(name), None, str(error))
    told = folder.described
    spec = ModelSpec(
        name=told.name,
        sha256=told.sha256.get(WEIGHTS, ""),
        illumination=told.illumination,
        mpp=told.mpp,
        mpp_range=told.mpp_range,
        core=told.core,
        halo=told.halo,
        reach_px=told.network.reach_px or told.halo,
        stride=told.network.stride,
        exact=told.network.reach_px is not None,
        channels=3,
        classes=tuple(CellClass(kind.name, kind.color) for kind in told.classes),
        licence=told.licence,
        data_licence=told.data_licence,
        trained_on=told.trained_on,
    )
    return Known(name, where, what, folder.root, spec, "", _card(folder.root))


def _verified_folder(path: Path) -> str:
    try:
        return _verified(ModelFolder.open(path))
    except ModelError as error:
        return str(error)


def _verified(folder: ModelFolder | SemanticFolder) -> str:
    try:
        for file in folder.described.sha256:
            folder.checked(file)
    except ModelError as error:
        return str(error)
    return ""
