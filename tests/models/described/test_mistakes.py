"""What is said of descriptions and networks that do not fit."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch", reason="pip install 'wsiseg[train]'")
pytest.importorskip("onnx", reason="pip install onnx")

import torch

import wsiseg
from exported import Hover, HoverTuple, Numbered, describe, export_onnx, script
from wsiseg.errors import MissingExtraError, ModelError
from wsiseg.models.described import opening, opening_onnx
from wsiseg.models.described.description import Description, read_description
from wsiseg.models.described.segmenter import open_described
from wsiseg.models.zoo import format_of, load_segmenter, settle_device

WINDOW = np.full((1, 96, 96, 3), 200, np.uint8)
PUBLISHED = sorted((Path(wsiseg.__file__).parents[1] / "workflows" / "models").glob("*.toml"))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The HoVer network in both formats."""
    folder = tmp_path_factory.mktemp("exported")
    script(Hover(), folder / "network.pt")
    export_onnx(HoverTuple(), folder / "network.onnx", ["tp", "np", "hv"])
    export_onnx(HoverTuple(), folder / "fixed.onnx", ["tp", "np", "hv"], 96)
    return folder


@pytest.fixture(params=["network.pt", "network.onnx"])
def folder(request: pytest.FixtureRequest, exported: Path, tmp_path: Path) -> Path:
    """A described network, of either format."""
    return copied(exported / request.param, tmp_path)


def copied(file: Path, folder: Path) -> Path:
    (folder / file.name).write_bytes(file.read_bytes())
    return describe(folder, "hover", file.name)


def change(folder: Path, old: str, new: str) -> Path:
    """Replace a line's text in the description."""
    path = folder / "model.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return folder


def look(folder: Path, window: NDArray[np.uint8] = WINDOW) -> Any:
    segmenter = open_described(folder, "cpu")
    return segmenter.decode(segmenter.predict(window, segmenter.calibrate([])))


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_descriptions_of_published_networks_are_usable(path: Path) -> None:
    described = Description.model_validate(tomllib.loads(path.read_text()))
    assert described.licence
    assert len(described.outputs.sources) >= 1


def test_there_are_descriptions_of_published_networks() -> None:
    assert len(PUBLISHED) >= 4


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("stride = 2", "stride = 2\nzoom = 3", "input.zoom"),
        ('kind = "hover"', 'kind = "hoover"', "hover"),
        ("mpp = 0.5", "mpp = 0.5\nmpp_range = [0.1, 0.2]", "mpp_range"),
        ("divide = 255.0", "mean = [0.5, 0.5]", "mean needs one number"),
        ("divide = 255.0", 'divide = 255.0\ndtype = "uint8"', "leave scaling out"),
        ("divide = 255.0", "percentiles = [99.0, 1.0]", "percentiles"),
        ("divide = 255.0", "side = 64\nmargin = 40", "leave nothing"),
        ("divide = 255.0", "step = 2", "needs an output for every pixel"),
        ("kernel = 11", "kernel = 12", "kernel"),
        ('output = "hv", channels = [0, 1]', 'output = "hv", channels = [0]', "directions needs 2"),
        ("background = 0", "background = 7", "background must be in 0 to 2"),
        (", background = 0", "", "3 classes besides background, but 2 are named"),
        ("colour = [120, 0, 120]", "colour = [120, 0, 900]", "colour"),
        ('file = "network', 'file = "../network', "bare name"),
        ("mpp = 0.5", "mpp = ", "no TOML"),
        ("mpp = 0.5", "", "mpp"),
    ],
)
def test_faults_of_a_description_are_named(
    exported: Path, tmp_path: Path, old: str, new: str, told: str
) -> None:
    folder = change(copied(exported / "network.pt", tmp_path), old, new)
    with pytest.raises(ModelError, match=told):
        read_description(folder)


def test_classes_without_types_are_refused(exported: Path, tmp_path: Path) -> None:
    folder = copied(exported / "network.pt", tmp_path)
    change(folder, 'types = { output = "tp", channels = [0, 1, 2], background = 0 }', "")
    with pytest.raises(ModelError, match=r"outputs\.types does not say"):
        read_description(folder)


def test_the_file_must_be_there_and_the_right_one(folder: Path) -> None:
    change(folder, "mpp = 0.5", f'mpp = 0.5\nsha256 = "{"0" * 64}"')
    with pytest.raises(ModelError, match="is not the file that its description is for"):
        open_described(folder, "cpu")
    (network,) = (p for p in folder.iterdir() if p.name.startswith("network"))
    network.unlink()
    with pytest.raises(ModelError, match="does not lie beside it"):
        open_described(folder, "cpu")


def test_a_description_alone_must_name_the_digest(folder: Path) -> None:
    with pytest.raises(ModelError, match="must state the sha256"):
        open_described(folder / "model.toml", "cpu")
    digest = open_described(folder, "cpu").spec.sha256
    change(folder, "mpp = 0.5", f'mpp = 0.5\nsha256 = "{digest}"')
    assert open_described(folder / "model.toml", "cpu").spec.sha256 == digest


def test_bad_weights_are_told_from_networks(exported: Path, tmp_path: Path) -> None:
    folder = copied(exported / "network.pt", tmp_path)
    torch.save(Hover().state_dict(), folder / "network.pt")
    with pytest.raises(ModelError, match=r"pickled weights without the network.*torch\.jit"):
        open_described(folder, "cpu")
    torch.save(Hover().state_dict(), folder / "network.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(ModelError, match="a pickle, perhaps"):
        open_described(folder, "cpu")
    whole = (exported / "network.pt").read_bytes()
    (folder / "network.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="no TorchScript file"):
        open_described(folder, "cpu")
    change(folder, "network.pt", "network.onnx")
    (folder / "network.onnx").write_bytes(b"nothing of the kind")
    with pytest.raises(ModelError, match="no ONNX network"):
        open_described(folder, "cpu")
    change(folder, "network.onnx", "network.h5")
    (folder / "network.h5").write_bytes(b"")
    with pytest.raises(ModelError, match="neither TorchScript"):
        open_described(folder, "cpu")


def test_outputs_other_than_described_are_named(folder: Path) -> None:
    text = (folder / "model.toml").read_text()
    for old, new, told in (
        ('output = "np"', 'output = "nucleus"', "no output 'nucleus'.*np"),
        ('"np", channels = [0, 1]', '"np", channels = [0, 2]', "has 2 channels"),
        ("divide = 255.0", "divide = 255.0\nlost = 2\nmargin = 0", r"input\.lost should then be 0"),
    ):
        (folder / "model.toml").write_text(text)
        change(folder, old, new)
        with pytest.raises(ModelError, match=told):
            look(folder)


def test_values_that_are_no_numbers_are_refused(folder: Path) -> None:
    change(folder, "divide = 255.0", "divide = 1e-38\nmean = [1e38]\nstd = [1e-38]")
    with pytest.raises(ModelError, match="no numbers"):
        look(folder)


def test_inputs_other_than_described_are_named(exported: Path, tmp_path: Path) -> None:
    folder = copied(exported / "fixed.onnx", tmp_path)
    with pytest.raises(ModelError, match=r"height must be 96, not any; mend input\.side"):
        open_described(folder, "cpu")
    change(folder, "divide = 255.0", "divide = 255.0\nside = 128")
    with pytest.raises(ModelError, match="height must be 96, not 128"):
        open_described(folder, "cpu")
    change(folder, "side = 128", "side = 96\nchannels = 1")
    change(folder, "mpp = 0.5", 'mpp = 0.5\nillumination = "fluorescence"')
    with pytest.raises(ModelError, match="channels must be 3, not 1"):
        open_described(folder, "cpu")
    change(folder, "divide = 255.0", 'dtype = "uint8"')
    with pytest.raises(ModelError, match="type f32, not uint8"):
        open_described(folder, "cpu")


def test_windows_of_other_pixels_are_refused(folder: Path) -> None:
    segmenter = open_described(folder, "cpu")
    for window, told in (
        (WINDOW[..., :1], "8-bit RGB pixels"),
        (WINDOW.astype(np.uint16), "8-bit RGB pixels"),
        (WINDOW[:, :95], "multiples of 2 px"),
    ):
        with pytest.raises(ModelError, match=told):
            segmenter.predict(window, {})


def test_a_network_that_fails_is_named_with_what_to_look_at(exported: Path, tmp_path: Path) -> None:
    folder = copied(exported / "network.pt", tmp_path)
    change(folder, "divide = 255.0", 'divide = 255.0\nlayout = "nhwc"')
    with pytest.raises(ModelError, match=r"cannot be run on .*|gives \d+ x \d+ px"):
        look(folder)


def test_maps_that_are_no_labels_are_refused(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "network.pt").write_bytes((exported / "network.pt").read_bytes())
    describe(tmp_path, "labels", "network.pt")
    change(tmp_path, "channels = [0]", 'output = "hv", channels = [0]')
    rng = np.random.default_rng(0)
    with pytest.raises(ModelError, match="not of the kind 'labels'"):
        look(tmp_path, rng.integers(0, 255, (1, 96, 96, 3), np.uint8))


def test_tissue_networks_are_refused(exported: Path, tmp_path: Path) -> None:
    folder = copied(exported / "network.pt", tmp_path)
    text = (folder / "model.toml").read_text()
    head = text[: text.index("[outputs]")]
    (folder / "model.toml").write_text(head + '[outputs]\nkind = "semantic"\n')
    with pytest.raises(ModelError, match="tissue classes"):
        open_described(folder, "cpu")


def test_onnx_is_refused_on_a_card(exported: Path, tmp_path: Path) -> None:
    folder = copied(exported / "network.onnx", tmp_path)
    with pytest.raises(ModelError, match="processor only"):
        settle_device(str(folder), "cuda")
    with pytest.raises(ModelError, match="processor only"):
        open_described(folder, "cuda")


def test_torch_is_asked_for(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copied(exported / "network.pt", tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"wsiseg\[train\]"):
        open_described(folder, "cpu")


def test_formats_know_their_own(exported: Path, tmp_path: Path) -> None:
    folder = copied(exported / "network.onnx", tmp_path)
    assert format_of(folder).NAME == opening_onnx.NAME
    assert opening.NEEDS_TRUST
    assert opening_onnx.NEEDS_TRUST
    change(folder, "network.onnx", "network.pt")
    assert format_of(folder).NAME == opening.NAME
    (folder / "model.toml").write_text("nothing")
    with pytest.raises(ModelError, match="no TOML file"):
        load_segmenter(str(folder), "cpu")


def test_fluorescence_takes_one_channel(tmp_path: Path) -> None:
    class Bright(torch.nn.Module):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return (pixels > 0.5).float()

    script(Bright(), tmp_path / "network.pt")
    describe(
        tmp_path,
        "labels",
        "network.pt",
        "channels = 1\npercentiles = [1.0, 99.0]\n",
        illumination="fluorescence",
    )
    segmenter = open_described(tmp_path, "cpu")
    image = np.zeros((1, 64, 64, 1), np.uint16)
    image[:, 20:30, 20:40] = 4000
    statistics = segmenter.calibrate(list(image))
    (found,) = segmenter.decode(segmenter.predict(image, statistics))
    assert len(found) == 1
    assert (found.labels > 0).sum() == 200


def test_numbers_of_every_window_start_at_one(tmp_path: Path) -> None:
    script(Numbered(), tmp_path / "network.pt")
    describe(tmp_path, "labels", "network.pt")
    y, x = np.indices((96, 96))
    spots = [np.exp(-((x - m) ** 2 + (y - m) ** 2) / 72.0) for m in (30, 66)]
    windows = [250 - 200 * spots[0], 250 - 200 * (spots[0] + spots[1])]
    image = np.repeat(np.stack(windows)[..., np.newaxis], 3, axis=-1).astype(np.uint8)
    first, second = look(tmp_path, image)
    assert (first.labels.max(), second.labels.max()) == (1, 2)
