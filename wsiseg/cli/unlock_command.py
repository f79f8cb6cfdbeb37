"""``wsiseg unlock``: clear the lock of a run that is dead."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def unlock(
    out: Annotated[Path, typer.Argument(help="Run directory.", show_default=False)],
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Take the directory from a run that is alive, too: it stops within ten seconds, "
            "and what its workers have under way is not kept.",
        ),
    ] = False,
) -> None:
    """Clear the lock that a dead run left in OUT, so that another can go on there.

    Rarely needed: a lock left by a process of this machine is cleared by the next run itself.
    On another machine, a run that gives no sign for a minute is taken for dead.
    """
    from wsiseg.cli.display import console
    from wsiseg.store.folders import RunFolder
    from wsiseg.store.lock import unlock as clear

    with console(stderr=True).status("waiting for a sign of life"):
        owner = clear(RunFolder(out), force=force)
    told = f"Cleared the lock of {owner}" if owner is not None else "There is no lock"
    console().print(f"{told} in {out}", highlight=False, markup=False)
