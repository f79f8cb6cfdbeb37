"""``wsiseg models``: which models there are, and models of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wsiseg.cli.leading import interruptible

if TYPE_CHECKING:
    from wsiseg.models.adding import Added
    from wsiseg.models.known import Known

models = typer.Typer(
    help="List, show, add, fetch, pack and verify models.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Name = Annotated[
    str | None,
    typer.Option("--name", help="What to call it. Default: as the file is.", show_default=False),
]
Trust = Annotated[
    bool,
    typer.Option(
        "--trust", help="From now on trust the maker of a model that can run code (TorchScript...)."
    ),
]


@models.command("list")
def list_(
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """What models there are: scale, classes, licences, what they learnt from, scores."""
    from wsiseg.cli.display import console
    from wsiseg.cli.models_display import models_view
    from wsiseg.models.known import known_models

    found = list(known_models())
    if as_json:
        _print_json([_plain(one) for one in found])
    else:
        for part in models_view(found):
            console().print(part)


@models.command()
def show(
    model: Annotated[str, typer.Argument(help="Name or path.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Everything that is known of a model, and its card."""
    from wsiseg.cli.display import console
    from wsiseg.cli.models_display import model_view
    from wsiseg.models.known import known_model

    found = known_model(model)
    if as_json:
        _print_json({**_plain(found), "card": found.card})
        return
    for part in model_view(found):
        console().print(part)


@models.command()
def add(
    path: Annotated[Path, typer.Argument(help="File or folder.", show_default=False)],
    name: Name = None,
    trust: Trust = False,
) -> None:
    """Copy a model into your own folder of models, to be used by its name from anywhere."""
    from wsiseg.models.adding import add_model

    with interruptible():
        added = add_model(path, name=name, trust=trust)
    _say(added)


@models.command()
def remove(name: Annotated[str, typer.Argument(help="Name of a model that was added.")]) -> None:
    """Remove a model from your own folder of models."""
    from wsiseg.cli.display import console
    from wsiseg.models.added import remove_model

    remove_model(name)
    console().print(f"{name} is removed", markup=False, highlight=False)


@models.command()
def fetch(
    model: Annotated[
        str,
        typer.Argument(
            help="https address of a model's file or archive, or a name in catalogue.toml in your "
            "folder of models.",
            show_default=False,
        ),
    ],
    sha256: Annotated[
        str | None,
        typer.Option(help="Digest of the file, as its makers state it.", show_default=False),
    ] = None,
    name: Name = None,
    trust: Trust = False,
) -> None:
    """Fetch a model from the network and add it. Nothing else in wsiseg uses the network.

    A transfer that broke off goes on where it stopped when the command is run again.
    """
    from wsiseg.cli.display import console
    from wsiseg.cli.models_display import TransferProgress
    from wsiseg.models.fetching import fetch_model, find_source

    source = find_source(model, sha256)
    with interruptible(), TransferProgress(console(stderr=True), source.file) as shown:
        added = fetch_model(source, name=name, trust=trust, progress=shown.step)
    _say(added)


@models.command()
def pack(
    model: Annotated[str, typer.Argument(help="Name or path.", show_default=False)],
    out: Annotated[Path, typer.Argument(help="File to write.", show_default=False)],
) -> None:
    """Write a model into one file, for a computer without a network; see unpack."""
    from wsiseg.cli.display import console, gigabytes
    from wsiseg.models.packing import pack_model

    with interruptible():
        content = pack_model(model, out)
    screen = console()
    screen.print(f"{out}  {gigabytes(content.bytes)}", markup=False, highlight=False)
    screen.print(f"sha256 {content.sha256}", markup=False, highlight=False)


@models.command()
def unpack(
    file: Annotated[Path, typer.Argument(help="What wsiseg models pack wrote.")],
    name: Name = None,
    trust: Trust = False,
) -> None:
    """Add the model in a file of wsiseg models pack."""
    from wsiseg.models.packing import unpack_model

    with interruptible():
        added = unpack_model(file, name=name, trust=trust)
    _say(added)


@models.command()
def verify(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Names of models. Default: all that have files.", show_default=False),
    ] = None,
) -> None:
    """Compare the files of models with the digests recorded of them."""
    from wsiseg.cli.display import console, printable
    from wsiseg.models.known import names_with_files, verify_model

    failed = False
    screen = console()
    for name in names or names_with_files():
        with interruptible():
            problem = verify_model(name)
        failed |= bool(problem)
        line = f"{name}: {printable(problem) or 'whole'}"
        screen.print(line, markup=False, highlight=False, style="red" if problem else None)
    if failed:
        raise typer.Exit(1)


def _say(added: Added) -> None:
    from wsiseg.cli.display import console, printable

    screen = console()
    lines = [f"{added.name}: {added.format}, now used by --model {added.name}"]
    if added.problem:
        lines.append(f"it cannot be opened here yet: {added.problem}")
    for line in lines:
        screen.print(printable(line), markup=False, highlight=False)


def _plain(known: Known) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "name": known.name,
        "where": known.where,
        "what": known.what,
        "path": str(known.path) if known.path is not None else None,
        "spec": asdict(known.spec) if known.spec is not None else None,
        "problem": known.problem,
        "score": known.score,
    }


def _print_json(value: object) -> None:
    import orjson

    typer.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())
