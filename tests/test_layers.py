"""Imports only go down."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import wsiseg

PACKAGE = Path(wsiseg.__file__).parent

# From the ground up. A module may import from its own layer and from those before it.
LAYERS = (
    "errors",
    "plugins",
    "geometry",
    "files",
    "tiling",
    "stain",
    "normalisation",
    "quality",
    "cells",
    "slides",
    "models",
    "tissue",
    "features",
    "statistics",
    "regions",
    "biomarkers",
    "grading",
    "stitch",
    "store",
    "classify",
    "export",
    "listing",
    "staging",
    "job",
    "pipeline",
    "archive",
    "summary",
    "execution",
    "curation",
    "scoring",
    "reporting",
    "evaluation",
    "training",
    "demo",
    "cli",
)
ABOVE_ALL = {"testing"}
"""For tests and plug-in authors: may import anything, imported by nothing."""

HOMES = {
    "distributed": "execution/dask_",
    "dask": "execution/dask_",
    "dask_jobqueue": "execution/dask_",
    "openslide": "slides/",
    "tiffslide": "slides/",
    "tifffile": ("slides/", "demo.py"),
    "zarr": "export/",
    "typer": "cli/",
    "rich": "cli/",
}
"""Libraries that only one place may import."""


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def layer(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def test_every_module_has_a_layer() -> None:
    found = {layer(p) for p in modules() if p.parent != PACKAGE or p.stem != "__init__"}
    assert found == {*LAYERS, *ABOVE_ALL}


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_down(path: Path) -> None:
    if path == PACKAGE / "__init__.py" or layer(path) in ABOVE_ALL:
        return
    allowed = LAYERS[: LAYERS.index(layer(path)) + 1]
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "wsiseg" and len(parts) > 1:
            assert parts[1] in allowed, f"{path.name} ({layer(path)}) imports {name}"


@pytest.mark.parametrize(("library", "home"), HOMES.items())
def test_libraries_keep_to_their_place(library: str, home: str | tuple[str, ...]) -> None:
    users = [
        path.relative_to(PACKAGE).as_posix()
        for path in modules()
        if layer(path) not in ABOVE_ALL
        and any(name.split(".")[0] == library for name in imported(path))
    ]
    assert users, f"nothing imports {library}: drop it"
    assert [user for user in users if not user.startswith(home)] == []
