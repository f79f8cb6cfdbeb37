"""Every notebook runs from top to bottom, and is kept without outputs and places."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import wsiseg

pytest.importorskip("nbclient", reason="needs nbclient: pip install 'wsiseg[dev]'")
nbformat = pytest.importorskip("nbformat", reason="needs nbformat: pip install 'wsiseg[dev]'")

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
SECONDS = 540
"""For one cell: bounded by patience with a busy machine, not by what it takes."""

ABSOLUTE = re.compile(
    r"""(?<![\w.~/:])/(?:home|root|work|tmp|Users|mnt|opt|data)\b|\b[A-Za-z]:\\\\"""
)


def named(path: Path) -> str:
    return path.stem


def run(path: Path, folder: Path, *, first: str = "") -> dict[str, list[str]]:
    """Run a notebook in a folder, after some code of its own; its texts by stream."""
    from nbclient import NotebookClient

    notebook = nbformat.read(path, 4)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(first))
    NotebookClient(
        notebook,
        timeout=SECONDS,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
    ).execute()
    texts: dict[str, list[str]] = {"stdout": [], "stderr": []}
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.output_type == "stream":
                texts[output.name].append(output.text)
    return texts


def test_there_are_six() -> None:
    assert [path.stem[:2] for path in NOTEBOOKS] == ["01", "02", "03", "04", "05", "06"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=named)
def test_a_notebook_holds_neither_outputs_nor_places(path: Path) -> None:
    notebook = nbformat.read(path, 4)
    nbformat.validate(notebook)
    assert notebook.metadata == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        assert not cell.get("outputs"), cell.id
        assert cell.get("execution_count") is None, cell.id
        assert not ABSOLUTE.search(cell.source), cell.id
    assert "**Question.**" in notebook.cells[0].source


def test_a_place_would_be_found() -> None:
    for text in ('Path("/home/me/slides")', "open('/root/x')", 'r"C:\\\\slides"'):
        assert ABSOLUTE.search(text), text
    for text in ("1/mm²", "https://example.org/data/x", "images/data", "work / 'data'"):
        assert not ABSOLUTE.search(text), text


@pytest.mark.parametrize("path", NOTEBOOKS, ids=named)
def test_a_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WSISEG_SLIDES", raising=False)
    monkeypatch.delenv("WSISEG_TILES", raising=False)
    texts = run(path, tmp_path)["stderr"]
    # Of the libraries' own warnings none is ours to forbid.
    assert not [text for text in texts if f"{Path(wsiseg.__file__).parent}" in text]
    assert list(tmp_path.iterdir()) == [tmp_path / "wsiseg-notebooks"]


@pytest.mark.parametrize("path", [n for n in NOTEBOOKS if n.stem[:2] in ("03", "04")], ids=named)
def test_a_notebook_runs_on_real_slides(
    path: Path, slides: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WSISEG_SLIDES", str(slides))
    run(path, tmp_path)


def test_without_torch_the_training_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WSISEG_TILES", raising=False)
    (path,) = [path for path in NOTEBOOKS if path.stem.startswith("05")]
    hidden = (
        "import importlib.util as places\n"
        "find = places.find_spec\n"
        "places.find_spec = lambda name, *more: None if name == 'torch' else find(name, *more)"
    )
    outputs = run(path, tmp_path, first=hidden)
    assert any("torch not installed" in text for text in outputs["stdout"])
    assert not (tmp_path / "wsiseg-notebooks" / "training" / "model").exists()
