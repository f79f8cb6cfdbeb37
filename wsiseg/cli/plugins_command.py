"""``wsiseg plugins``: what other installed packages add."""

from __future__ import annotations

import warnings

import typer

from wsiseg.plugins import PluginWarning


def plugins() -> None:
    """List the plug-ins that are installed: readers, segmenters, features, exporters.

    Exits with 1 if one of them cannot be used.
    """
    from wsiseg.cli.display import console
    from wsiseg.cli.models_display import plugins_table
    from wsiseg.plugins import KINDS, problem_of
    from wsiseg.plugins import plugins as installed

    found = [(one, problem_of(one)) for kind in KINDS for one in installed(kind).values()]
    if not found:
        console().print("no plug-ins are installed", highlight=False)
        return
    console().print(plugins_table(found))
    if any(problem for _, problem in found):
        raise typer.Exit(1)


def shorten_plugin_warnings() -> None:
    """Show warnings of plug-ins as one line, without the place in the code."""
    usual = warnings.formatwarning

    def shown(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        line: str | None = None,
    ) -> str:
        if issubclass(category, PluginWarning):
            return f"warning: {message}\n"
        return usual(message, category, filename, lineno, line)

    warnings.formatwarning = shown
