"""Files of weights: told by their keys, read as plain tensors, refused in words."""

from __future__ import annotations

import importlib.metadata
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wsiseg.errors import MissingExtraError, ModelError
from wsiseg.models.cellpose.described import describe
from wsiseg.models.cellpose.networks import require_cellpose
from wsiseg.models.cellpose.weights import (
    generation_of,
    named_models,
    named_weights,
    read_weights,
)
from wsiseg.models.known import known_models
from wsiseg.models.licence import require_commercial
from wsiseg.models.zoo import find_model, format_of, load_segmenter

torch = pytest.importorskip("torch")
cellpose = pytest.importorskip("cellpose")

IS_3 = importlib.metadata.version("cellpose").startswith("3.")
needs_3 = pytest.mark.skipif(not IS_3, reason="needs cellpose 3")


def small_network(channels: int = 2, outputs: int = 3) -> Any:
    from cellpose.resnet_torch import CPnet

    torch.manual_seed(0)
    return CPnet([channels, 32, 64, 128, 256], outputs, sz=3, diam_mean=20.0)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of cellpose 3's true format, with random weights."""
    path = tmp_path_factory.mktemp("weights") / "my_nuclei"
    torch.save(small_network().state_dict(), path)
    return path


def large_file(path: Path, *extra: str) -> Path:
    """A file that has the keys of a network of cellpose 4 and nothing else of it."""
    names = ("W2", "encoder.patch_embed.proj.weight", "out.weight", *extra)
    torch.save({name: torch.zeros(1) for name in names}, path)
    return path


@needs_3
def test_generations_are_told_by_the_keys(weights: Path, tmp_path: Path) -> None:
    assert generation_of(weights) == "3"
    legacy = tmp_path / "legacy"
    torch.save(torch.load(weights), legacy, _use_new_zipfile_serialization=False)
    assert generation_of(legacy) == "3"
    assert generation_of(large_file(tmp_path / "cpsam")) == "4"
    assert generation_of(large_file(tmp_path / "cpdino", "encoder.cls_token")) == "4-dino"


def test_other_files_are_not_taken_for_weights(tmp_path: Path) -> None:
    text, other, zipped = tmp_path / "text", tmp_path / "other.pt", tmp_path / "zip"
    text.write_text("downsample.down.res_down_0 upsample.up.res_up_0 output.2.weight")
    torch.save({"weight": torch.zeros(3)}, other)
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("notes.txt", "downsample.down.res_down_0")
    truncated = tmp_path / "truncated"
    truncated.write_bytes(other.read_bytes()[:200])
    for path in (text, other, zipped, truncated, tmp_path, tmp_path / "absent"):
        assert generation_of(path) is None
    with pytest.raises(ModelError, match="no model in a format known"):
        format_of(text)


class Trap:
    """What a malicious file would run."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.__class__.place),)  # type: ignore[attr-defined]


@needs_3
def test_a_file_that_would_run_a_programme_is_refused(weights: Path, tmp_path: Path) -> None:
    Trap.place = tmp_path / "sprung"  # type: ignore[attr-defined]
    trapped = tmp_path / "trapped"
    torch.save({**torch.load(weights), "trap": Trap()}, trapped)
    assert generation_of(trapped) == "3"
    with pytest.raises(ModelError, match="more than plain tensors"):
        read_weights(trapped)
    plain = tmp_path / "pickle"
    plain.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ModelError, match=r"plain tensors|cannot read"):
        read_weights(plain)
    assert not (tmp_path / "sprung").exists()


@needs_3
def test_damaged_weights_are_refused(weights: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    damaged.write_bytes(weights.read_bytes()[:-5000])
    with pytest.raises(ModelError, match="cannot read the weights"):
        read_weights(damaged)
    listed = tmp_path / "listed"
    torch.save([torch.zeros(2)], listed)
    with pytest.raises(ModelError, match="no weights by name"):
        read_weights(listed)


def run_once(path: Path) -> None:
    """Load weights and run their network on a black square."""
    segmenter = load_segmenter(str(path), "cpu")
    pixels = np.zeros((1, 64, 64, 3), np.uint8)
    segmenter.predict(pixels, segmenter.calibrate([pixels[0]]))


@needs_3
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("output.2.bias"), "lacks 1 tensors, output.2.bias"),
        (lambda s: s.update({"output.2.weight": torch.zeros(4, 32, 1, 1)}), "has 4 outputs"),
        (lambda s: s.update({"output.0.weight": torch.zeros(7)}), "cannot use the weights"),
        (lambda s: s.update({"diam_mean": torch.zeros(1)}), "objects of 0 px"),
    ],
)
def test_weights_that_do_not_fit_say_why(
    weights: Path, tmp_path: Path, change: Any, message: str
) -> None:
    state = torch.load(weights)
    change(state)
    path = tmp_path / "changed"
    torch.save(state, path)
    with pytest.raises(ModelError, match=message):
        run_once(path)


def test_the_other_cellpose_and_none_at_all_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = large_file(tmp_path / "cpsam")
    for installed, generation in (("3.1.1.3", "4"), ("4.2.1.1", "3")):
        monkeypatch.setattr("importlib.metadata.version", lambda _, v=installed: v)
        with pytest.raises(ModelError, match=f"cellpose {installed} is installed"):
            require_cellpose(generation, path)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="cpdino"):
        require_cellpose("4-dino", path)

    def absent(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.version", absent)
    with pytest.raises(MissingExtraError, match=r"wsiseg\[cellpose\]"):
        load_segmenter(str(path), "cpu")


@needs_3
def test_names_are_looked_up_where_cellpose_keeps_its_models(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    for name in ("nucleitorch_0", "cyto3", "mine"):
        (folder / name).write_bytes(weights.read_bytes())
    monkeypatch.setenv("CELLPOSE_LOCAL_MODELS_PATH", str(folder))
    assert find_model("cellpose:nuclei") == (folder / "nucleitorch_0").resolve()
    assert named_weights("nuclei") is None
    (folder / "notes.txt").write_text("no weights")
    assert set(named_models()) == {"cellpose:cyto3", "cellpose:mine", "cellpose:nuclei"}
    assert {one.name for one in known_models()} >= set(named_models())
    nuclei = load_segmenter("cellpose:nuclei", "cpu").spec
    cyto = load_segmenter("cellpose:cyto3", "cpu").spec
    mine = load_segmenter("cellpose:mine", "cpu").spec
    # 8 µm are 17 px for the network of nuclei, 30 px for that of cells, and for a user's own as
    # many as it says of itself.
    assert (nuclei.mpp, cyto.mpp, mine.mpp) == pytest.approx((8 / 17, 8 / 30, 8 / 20))
    for spec in (nuclei, cyto, mine):
        with pytest.raises(ModelError, match="may not be used commercially"):
            require_commercial(spec)
    assert nuclei.licence == "BSD-3-Clause"
    for name in ("cellpose:absent", "cellpose:../models/mine", "cellpose:"):
        with pytest.raises(ModelError, match="CELLPOSE_LOCAL_MODELS_PATH"):
            find_model(name)


@needs_3
def test_a_description_says_how_to_use_weights(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(weights.read_bytes())
    text = """
        weights = "w"
        illumination = "fluorescence"
        diameter_um = 10
        flow_threshold = 0.6
        licence = "Apache-2.0"
        data_licence = "CC0-1.0"
        trained_on = ["ours"]
    """
    path = tmp_path / "cellpose.toml"
    path.write_text(text)
    for given in (tmp_path, path):
        spec = load_segmenter(str(given), "cpu").spec
        assert spec.name == f"cellpose:{tmp_path.name}"
        assert spec.mpp == pytest.approx(10 / 20)
        assert (spec.illumination, spec.channels) == ("fluorescence", 1)
        assert spec.trained_on == ("ours",)
        require_commercial(spec)
    path.write_text(text.replace("flow_threshold = 0.6", ""))
    assert load_segmenter(str(path), "cpu").spec.parameters != spec.parameters
    path.write_text('weights = "w"\nmpp = 0.3')
    assert load_segmenter(str(path), "cpu").spec.mpp == 0.3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("weights = ", "no TOML"),
        ("mpp = 0.5", "weights: Field required"),
        ('weights = "absent"', "no file"),
        ('weights = "w"\nmpp = 0.5\ndiameter_um = 8', "not both"),
        ('weights = "w"\nchannels = [0, 4]', "channels"),
        ('weights = "w"\nscale = 2', "scale: Extra inputs"),
        ('weights = "w"\n' + "# \n" * 30_000, "too large"),
    ],
)
def test_wrong_descriptions_say_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "w").write_bytes(b"")
    (tmp_path / "cellpose.toml").write_text(text)
    with pytest.raises(ModelError, match=message):
        describe(tmp_path)


def test_a_description_of_something_else_than_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(b"no weights")
    (tmp_path / "cellpose.toml").write_text('weights = "w"')
    with pytest.raises(ModelError, match="no file of weights as cellpose"):
        load_segmenter(str(tmp_path), "cpu")
