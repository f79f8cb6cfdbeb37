"""A TorchScript network needs trust wherever it is run, and has it everywhere once it is given."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="pip install 'wsiseg[train]'")

import wsiseg
from exported import KINDS, describe, script
from runs import wsiseg_command
from wsiseg.demo import write_demo_slide
from wsiseg.models.zoo import load_segmenter


def test_a_torchscript_network_is_asked_for_trust(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WSISEG_MODELS", str(tmp_path / "models"))
    network, _ = KINDS["boundary"]
    folder = tmp_path / "network"
    script(network(), folder / "network.pt")
    describe(folder, "boundary", "network.pt")
    slide = tmp_path / "slide.tiff"
    write_demo_slide(slide)
    table = ("--export", "table", "--features", "none", "--inline")

    refused = wsiseg_command("run", slide, "--out", tmp_path / "out", "--model", folder, *table)
    assert refused.returncode == 1
    assert "TorchScript network with a model.toml, which can run code" in refused.stderr
    assert "--trust" in refused.stderr
    assert not (tmp_path / "out").exists()

    once = wsiseg_command(
        "run", slide, "--out", tmp_path / "out", "--model", folder, *table, "--trust"
    )
    assert once.returncode == 0, once.stderr
    # Its manifest may be of anybody's making: trust does not come from there.
    again = wsiseg_command("export", tmp_path / "out", "--export", "csv", "--inline")
    assert again.returncode == 1
    assert "which can run code" in again.stderr

    added = wsiseg_command("models", "add", folder, "--name", "ours", "--trust")
    assert added.returncode == 0, added.stderr
    named = wsiseg_command("run", slide, "--out", tmp_path / "named", "--model", "ours", *table)
    assert named.returncode == 0, named.stderr
    again = wsiseg_command("export", tmp_path / "out", "--export", "csv", "--inline")
    assert again.returncode == 0, again.stderr
    counts = [
        wsiseg.open_run(tmp_path / run).report("slide.tiff")["counts"]["nuclei"]
        for run in ("out", "named")
    ]
    assert counts[0] == counts[1] > 0
    assert load_segmenter("ours").spec == load_segmenter(str(folder)).spec
