"""Readers that other packages add, as entry points of the group ``wsiseg.readers``."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from wsiseg.errors import PluginError
from wsiseg.plugins import calling, load_plugin, plugins, usable_plugins, warn_of
from wsiseg.slides.reader import SlideReader


class ReaderPlugin(Protocol):
    """What the entry point of a reader names: a class that opens files, say.

    Its name must be the one that ``facts.reader`` gives: plans keep that, to open the slide again.
    """

    SUFFIXES: tuple[str, ...]
    """Endings, in small letters with their dot, of the files to find in a folder of slides."""

    @staticmethod
    def recognises(path: Path) -> bool:
        """Whether a file looks like one that it opens, told from as few bytes as possible."""
        ...

    def __call__(self, path: Path) -> SlideReader:
        """Open a file.

        Raises
        ------
        UnreadableSlideError
            If it cannot.
        """
        ...


def open_plugged(name: str, path: Path) -> SlideReader:
    """Open a slide with the reader of a plug-in.

    Raises
    ------
    PluginError
        If the plug-in cannot be used.
    UnreadableSlideError
        If it cannot open the file.
    """
    made: ReaderPlugin = load_plugin("readers", name)
    plugin = plugins("readers")[name]
    with calling(plugin):
        reader = made(path)
        called = reader.facts.reader
        if called != name:
            reader.close()
            raise PluginError(f"{plugin} calls itself {called!r} in the facts of {path.name}")
    return reader


def recognising(path: Path) -> str | None:
    """The name of the first plug-in whose reader recognises a file, if any does."""
    for plugin, made in usable_plugins("readers"):
        try:
            with calling(plugin):
                if made.recognises(path):
                    return plugin.name
        except PluginError as error:
            warn_of(error)
    return None


def plugged_suffixes() -> frozenset[str]:
    """Endings of the files that the readers of plug-ins open."""
    found: set[str] = set()
    for plugin, made in usable_plugins("readers"):
        try:
            with calling(plugin):
                found |= {str(suffix) for suffix in made.SUFFIXES}
        except PluginError as error:
            warn_of(error)
    return frozenset(found)
