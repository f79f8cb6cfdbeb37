"""What other installed packages add: readers, segmenters, sets of features and exporters.

A package offers them as entry points (https://packaging.python.org/specifications/entry-points)
in the groups ``wsiseg.readers``, ``wsiseg.segmenters``, ``wsiseg.features`` and
``wsiseg.exporters``, each under the name it is asked for by. Nothing is imported before it is
asked for. A plug-in that cannot be used never stops wsiseg: it is warned of where plug-ins are
looked through, and is an error where it is asked for by name.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, get_args

from wsiseg.errors import PluginError, WsisegError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

Kind = Literal["readers", "segmenters", "features", "exporters"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_WORDS: Mapping[Kind, str] = {
    "readers": "reader",
    "segmenters": "segmenter",
    "features": "set of features",
    "exporters": "exporter",
}
_NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")
"""Names become parts of columns, of file names and of command lines."""


class PluginWarning(UserWarning):
    """A plug-in that is installed cannot be used."""


@dataclass(frozen=True, slots=True)
class Plugin:
    """Something that an installed package adds.

    Attributes
    ----------
    kind, name
        What it is, and the name it is asked for by.
    package, version
        Of the distribution it came with.
    target
        What is loaded, ``module:object``.
    rivals
        Other packages that offer one of the same kind and name.
    """

    kind: Kind
    name: str
    package: str
    version: str
    target: str
    rivals: tuple[str, ...] = ()

    @property
    def origin(self) -> str:
        """Package and version: what decides, with its name, what it does."""
        return f"{self.package} {self.version}"

    def __str__(self) -> str:
        return f"the {_WORDS[self.kind]} {self.name} of the package {self.origin}"


def plugins(kind: Kind) -> Mapping[str, Plugin]:
    """The installed plug-ins of a kind by name, in the order of their names; none is loaded."""
    return {name: plugin for name, (plugin, _) in _found()[kind].items()}


def load_plugin(kind: Kind, name: str) -> Any:
    """What a plug-in's entry point names; imported once a process.

    Raises
    ------
    PluginError
        If no package offers it, several do, or it cannot be imported; the message names the
        package.
    """
    loaded, error = _loaded(kind, name)
    if error is not None:
        raise PluginError(str(error)) from error.__cause__
    return loaded


def usable_plugins(kind: Kind) -> Iterator[tuple[Plugin, Any]]:
    """Every plug-in of a kind that can be loaded, and what it is; a warning for every other."""
    for name, plugin in plugins(kind).items():
        try:
            loaded = load_plugin(kind, name)
        except PluginError as error:
            warn_of(error)
        else:
            yield plugin, loaded


def problem_of(plugin: Plugin) -> str:
    """Why a plug-in cannot be used; empty if it can be loaded."""
    try:
        load_plugin(plugin.kind, plugin.name)
    except PluginError as error:
        return str(error)
    return ""


def origins(kind: Kind, names: Iterable[str]) -> dict[str, str]:
    """Package and version of those names that are plug-ins of a kind."""
    found = plugins(kind)
    return {name: found[name].origin for name in sorted(names) if name in found}


@contextmanager
def calling(plugin: Plugin) -> Iterator[None]:
    """Turn what goes wrong in a plug-in's code into an error that names the package.

    Errors of wsiseg's own and of storage pass as they are.

    Raises
    ------
    PluginError
        For every other.
    """
    try:
        yield
    except (WsisegError, OSError, MemoryError):
        raise
    except Exception as error:
        raise _unusable(plugin, error) from error


def warn_of(error: PluginError) -> None:
    """Warn of a plug-in that is passed over, once a process."""
    _warn(str(error))


@lru_cache(maxsize=256)
def _warn(text: str) -> None:
    warnings.warn(text, PluginWarning, stacklevel=4)


# What fails is not tried again for every file of a folder.
@lru_cache(maxsize=256)
def _loaded(kind: Kind, name: str) -> tuple[Any, PluginError | None]:
    try:
        return _load(kind, name), None
    except PluginError as error:
        return None, error


def _load(kind: Kind, name: str) -> Any:
    if name not in _found()[kind]:
        raise PluginError(f"no installed package offers the {_WORDS[kind]} {name!r}")
    plugin, entry = _found()[kind][name]
    if plugin.rivals:
        raise PluginError(
            f"the {_WORDS[kind]} {name} is offered by several packages "
            f"({', '.join((plugin.package, *plugin.rivals))}): uninstall all but one"
        )
    if _NAME.fullmatch(name) is None:
        raise PluginError(
            f"{plugin} cannot be used: names are small letters, digits, '-' and '_', beginning "
            "with a letter"
        )
    try:
        return entry.load()
    except Exception as error:
        raise _unusable(plugin, error) from error


# Looking through everything that is installed takes tens of milliseconds.
@lru_cache(maxsize=1)
def _found() -> Mapping[Kind, Mapping[str, tuple[Plugin, EntryPoint]]]:
    from importlib.metadata import entry_points

    found: dict[Kind, dict[str, tuple[Plugin, EntryPoint]]] = {}
    for kind in KINDS:
        offers: dict[str, dict[str, EntryPoint]] = {}
        for entry in entry_points(group=f"wsiseg.{kind}"):
            offers.setdefault(entry.name, {})[_package(entry)[0]] = entry
        found[kind] = {name: _offer(kind, name, offers[name]) for name in sorted(offers)}
    return found


def _offer(kind: Kind, name: str, offers: Mapping[str, EntryPoint]) -> tuple[Plugin, EntryPoint]:
    first, *others = sorted(offers)
    package, version = _package(offers[first])
    return Plugin(kind, name, package, version, offers[first].value, tuple(others)), offers[first]


def _package(entry: EntryPoint) -> tuple[str, str]:
    # A package whose metadata is damaged has no name or version.
    if entry.dist is None:
        return "unknown", "of unknown version"
    about = entry.dist.metadata.json
    return str(about.get("name", "unknown")), str(about.get("version", "of unknown version"))


def _unusable(plugin: Plugin, error: Exception) -> PluginError:
    told = str(error).splitlines() or [""]
    return PluginError(
        f"{plugin} cannot be used ({type(error).__name__}: {told[0]}); update or uninstall "
        f"{plugin.package}, or tell its authors"
    )
