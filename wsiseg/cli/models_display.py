"""What the terminal shows of models and plug-ins."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table
from rich.text import Text

from wsiseg.cli.display import plan_table, printable

if TYPE_CHECKING:
    from wsiseg.models.known import Known
    from wsiseg.models.segmenter import ModelSpec
    from wsiseg.plugins import Plugin

_WHERE = {
    "package": "in the package",
    "weightless": "in the package, without weights",
    "added": "added by you",
    "plug-in": "plug-in",
    "path": "a file or folder of yours",
}


_FROM = {
    "package": "package",
    "weightless": "rule",
    "added": "you",
    "plug-in": "plug-in",
    "path": "a path",
}


def models_view(found: Sequence[Known]) -> Iterable[RenderableType]:
    """The models there are, one a row, then what is wrong with some."""
    yield _models_table(found)
    problems = [Text(f"{one.name}: {printable(one.problem)}") for one in found if one.problem]
    if problems:
        yield Text("\nCannot be used:", "yellow")
        yield from problems


def _models_table(found: Sequence[Known]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for head in ("Model", "From", "For", "µm/px", "Classes", "Licence", "Learnt from", "Scores"):
        wide = {"Licence": 16, "Learnt from": 22, "Scores": 12}.get(head)
        table.add_column(head, overflow="fold", no_wrap=head == "Model", min_width=wide)
    for one in found:
        what = _FROM[one.where]
        if one.where in ("added", "plug-in"):
            what = f"{what}: {one.what}"
        if one.spec is None:
            table.add_row(_text(one.name), _text(what), Text("see below", "yellow"))
            continue
        spec = one.spec
        table.add_row(
            _text(one.name),
            _text(what),
            spec.illumination,
            f"{spec.mpp:g}",
            _text(", ".join(kind.name for kind in spec.classes)),
            _lines([spec.licence, *([f"data: {spec.data_licence}"] if spec.data_licence else [])]),
            _text(", ".join(spec.trained_on)),
            _lines(one.score.split(", ")),
        )
    return table


def model_view(known: Known) -> Iterable[RenderableType]:
    """Everything that is known of a model, then its card."""
    rows = {"Where": _WHERE[known.where], "Format": known.what}
    if known.path is not None:
        rows["Path"] = str(known.path)
    if known.problem:
        rows["Problem"] = known.problem
    if known.spec is not None:
        rows |= _spec_rows(known.spec)
    yield plan_table(known.name, {label: printable(text) for label, text in rows.items()})
    if known.card:
        yield Text("")
        yield Text("\n".join(printable(line) for line in known.card.splitlines()))


def plugins_table(found: Sequence[tuple[Plugin, str]]) -> Table:
    """The plug-ins that are installed, and what is wrong with each."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for head in ("Kind", "Name", "Package", "State"):
        table.add_column(head, overflow="fold")
    for plugin, problem in found:
        state = Text(printable(problem), "yellow") if problem else Text("usable")
        row = (plugin.kind, plugin.name, plugin.origin)
        table.add_row(*map(_text, row), state)
    return table


class TransferProgress:
    """A bar on a terminal while a file is transferred; silent elsewhere."""

    def __init__(self, screen: Console, name: str) -> None:
        self._progress = Progress(
            TextColumn(escape(printable(name))),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            console=screen,
            disable=not screen.is_terminal,
        )
        self._task = self._progress.add_task("", total=None)

    def step(self, done: int, total: int | None) -> None:
        """So many bytes of so many are there."""
        self._progress.update(self._task, completed=done, total=total)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()


def _spec_rows(spec: ModelSpec) -> Mapping[str, str]:
    low, high = spec.mpp_range
    return {
        "Model": spec.name,
        "For": f"{spec.illumination} slides",
        "Pixel size": f"{spec.mpp:g} µm/px, not resampled within {low:g} to {high:g}",
        "Classes": ", ".join(kind.name for kind in spec.classes),
        "Channels": "RGB" if spec.channels == 3 else "one, named with --channel",
        "Tiles": f"core {spec.core} px, halo {spec.halo} px, stride {spec.stride} px, reach "
        f"{spec.reach_px} px",
        "Tiles show": "no: the same nuclei whatever the tiles"
        if spec.exact
        else "as little as its network allows: windows lie on a fixed lattice",
        "Licence": spec.licence or "not stated",
        "Licence of data": spec.data_licence or "not stated",
        "Learnt from": ", ".join(spec.trained_on) or "not stated",
        "sha256": spec.sha256,
        "Parameters": spec.parameters or "none",
        "Runs on": spec.runtime or "the processor",
        "Memory": f"{spec.bytes_per_px} bytes a window pixel",
        "Batch": str(spec.batch),
        "Appearance": "; ".join(
            f"{name} {low:g} to {high:g}" for name, (low, high) in spec.appearance.items()
        )
        or "not known",
    }


def _text(value: str) -> Text:
    return Text(printable(value))


def _lines(values: Sequence[str]) -> Text:
    return Text("\n".join(map(printable, values)))
