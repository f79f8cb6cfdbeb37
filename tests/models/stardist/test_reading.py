"""StarDist's files: every format gives the network that wrote it, bad files an error that helps."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from starred import CONFIG, Plain, drawn, hdf5, keras3, write_model, write_settings, write_tfjs
from wsiseg.errors import MissingExtraError, ModelError
from wsiseg.models import zoo
from wsiseg.models.network.runtime import import_openvino
from wsiseg.models.stardist import hdf5 as hdf5_reading
from wsiseg.models.stardist import opening
from wsiseg.models.stardist.graph import build_graph
from wsiseg.models.stardist.network import Network
from wsiseg.models.stardist.reading import read_model

pytest.importorskip("h5py", reason="needs h5py: pip install 'wsiseg[stardist]'")

TRUE_FILES = Path(__file__).parent / "true_files.zip"
"""One network saved by StarDist 0.9.2, TensorFlow 2.21 and tensorflowjs 4.22, and its answers:
``reference.py tiny``."""

CLOSE = 1e-4

VARIANTS: dict[str, dict[str, Any]] = {
    "as published": {"unet_n_depth": 3, "n_rays": 32, "net_conv_after_unet": 16},
    "fluorescence, no extra layer": {
        "n_channel_in": 1,
        "grid": [1, 1],
        "net_conv_after_unet": 0,
        "unet_last_activation": "linear",
    },
    "normalised": {
        "grid": [4, 4],
        "unet_batch_norm": True,
        "unet_prefix": "net_",
        "unet_dropout": 0.1,
        "unet_activation": "elu",
        "unet_last_activation": None,
    },
    "classes": {"n_classes": 3, "unet_n_conv_per_depth": 3, "unet_kernel_size": [5, 3]},
    "odd": {
        "n_classes": 2,
        "net_conv_after_unet": 0,
        "unet_pool": [2, 4],
        "unet_kernel_size": [4, 2],
        "unet_n_conv_per_depth": 1,
        "unet_expansion": 1.5,
        "unet_activation": "tanh",
        "unet_last_activation": "sigmoid",
    },
}


def config_of(name: str) -> dict[str, Any]:
    return {**CONFIG, **VARIANTS[name]}


def answers(network: Network, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """In float32, through the graph that wsiseg runs on processors."""
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    model = import_openvino().Core().compile_model(build_graph(network), "CPU", settings)
    found: NDArray[np.float32] = model({0: pixels[np.newaxis]})[0][0]
    return found


def difference(found: NDArray[np.float32], expected: list[NDArray[np.floating]]) -> float:
    """Greatest difference of probabilities, rays and probabilities of classes."""
    rays = expected[1].shape[-1]
    scores = np.exp(found[1 + rays :].astype(np.float64))
    parts = [1 / (1 + np.exp(-found[:1].astype(np.float64))), found[1 : 1 + rays]]
    parts += [scores / scores.sum(axis=0)] if len(scores) else []
    pairs = zip(parts, expected, strict=True)
    return max(float(np.abs(a.transpose(1, 2, 0) - b).max()) for a, b in pairs)


@pytest.fixture(scope="module")
def true_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("true")
    with zipfile.ZipFile(TRUE_FILES) as archive:
        archive.extractall(folder)
    return folder


@pytest.mark.parametrize("kind", ["keras2", "tensorflow1", "tensorflow2", "tfjs"])
def test_files_of_the_true_programmes_answer_as_there(
    true_files: Path, kind: str, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(true_files / kind, folder)
    for name in ("config.json", "thresholds.json"):
        shutil.copy(true_files / name, folder)
    (folder / "wsiseg.toml").write_text("mpp = 0.5\n")
    assert opening.recognises(folder)
    assert zoo.format_of(folder) is opening
    known = np.load(true_files / "answers.npz")
    expected = [known["y0"][0], known["y1"][0]]
    assert min(part.std() for part in expected) > 0.02
    found = answers(read_model(folder).network, known["x"][0])
    assert difference(found, expected) < CLOSE


@pytest.mark.parametrize("name", VARIANTS)
def test_networks_answer_as_calculated_plainly(name: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="needs torch: pip install 'wsiseg[train]'")
    from wsiseg.models.stardist.module import StarModule

    plain = drawn(config_of(name))
    network = read_model(write_model(tmp_path / "model", plain)).network
    stride = network.config.stride
    shape = (4 * stride, 6 * stride, network.config.n_channel_in)
    pixels = np.random.default_rng(1).uniform(-0.2, 1.2, shape).astype(np.float32)
    expected = plain.answer(pixels)
    assert min(part.std() for part in expected) > 0.01
    assert difference(answers(network, pixels), expected) < CLOSE
    module = StarModule(network)(torch.from_numpy(pixels[np.newaxis])).numpy()[0]
    assert difference(module, expected) < CLOSE


@pytest.mark.parametrize("name", ["normalised", "classes"])
def test_every_format_holds_the_same_network(name: str, tmp_path: Path) -> None:
    plain = drawn(config_of(name))
    whole = read_model(write_model(tmp_path / "keras2", plain))
    numbered = write_settings(tmp_path / "later in a session", plain.config)
    (numbered / "weights_last.h5").write_bytes(hdf5(plain.weights, offset=17))
    third = write_settings(tmp_path / "keras3", plain.config)
    (third / "weights_best.weights.h5").write_bytes(keras3(plain.weights))
    script = write_settings(tmp_path / "tfjs", plain.config)
    write_tfjs(script, plain.weights)
    for folder in (numbered, third, script):
        layers = read_model(folder).network.layers
        assert layers.keys() == whole.network.layers.keys()
        for layer, expected in whole.network.layers.items():
            assert np.array_equal(layers[layer].kernel, expected.kernel), (folder, layer)
            assert np.array_equal(layers[layer].bias, expected.bias), (folder, layer)


def zipped(folder: Path, target: Path, prefix: str = "") -> Path:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, prefix + file.relative_to(folder).as_posix())
    return target


def test_archives_are_read_as_they_are(true_files: Path, tmp_path: Path) -> None:
    plain = drawn(CONFIG)
    folder = write_model(tmp_path / "model", plain)
    expected = read_model(folder)
    for prefix in ("", "2D_demo/"):
        archive = zipped(folder, tmp_path / "model.zip", prefix)
        assert opening.recognises(archive)
        found = read_model(archive)
        assert found.sha256 == expected.sha256
        assert found.description.about == expected.description.about
    # export_TF's zip archive within the folder, and what is to be said beside an archive.
    packed = write_settings(
        tmp_path / "packed", json.loads((true_files / "config.json").read_text())
    )
    zipped(true_files / "tensorflow1", packed / "TF_SavedModel.zip")
    (packed / "wsiseg.toml").unlink()
    archive = zipped(packed, tmp_path / "packed.zip")
    (tmp_path / "packed.toml").write_text('mpp = 0.25\nname = "beside"\n')
    model = read_model(archive)
    assert model.description.about.mpp == 0.25
    assert model.description.name == "beside"
    known = np.load(true_files / "answers.npz")
    found_there = answers(model.network, known["x"][0])
    assert difference(found_there, [known["y0"][0], known["y1"][0]]) < CLOSE


def test_packages_of_bioimage_io_are_read(tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml")
    plain = drawn(CONFIG)
    folder = tmp_path / "2D_versatile_he"
    folder.mkdir()
    (folder / "stardist_weights.h5").write_bytes(hdf5(plain.weights))
    said = {"config": CONFIG, "thresholds": {"prob": 0.69, "nms": 0.3}, "weights": "x"}
    (folder / "rdf.yaml").write_text(yaml.safe_dump({"config": {"stardist": said}}))
    for path in (folder, zipped(folder, tmp_path / "2D_versatile_he.zip")):
        assert opening.recognises(path)
        described = read_model(path).description
        assert (described.probability, described.overlap) == (0.69, 0.3)
        assert described.about.mpp == 0.5


def test_the_best_weights_come_before_the_last_ones(tmp_path: Path) -> None:
    plain = drawn(CONFIG)
    folder = write_model(tmp_path / "model", plain)
    alone = read_model(folder)
    (folder / "weights_last.h5").write_bytes(hdf5(drawn(CONFIG, seed=9).weights))
    (folder / "a.h5").write_bytes(b"something else")
    both = read_model(folder)
    assert np.array_equal(
        both.network.layers["features"].kernel, alone.network.layers["features"].kernel
    )
    (folder / "weights_best.h5").unlink()
    last = read_model(folder)
    assert last.sha256 != alone.sha256


def test_published_models_are_known_by_name_and_others_must_state_their_scale(
    tmp_path: Path,
) -> None:
    plain = drawn(CONFIG)
    for name, licence in (("2D_versatile_he", "BSD-3-Clause"), ("mine", "")):
        folder = write_model(tmp_path / name, plain)
        (folder / "wsiseg.toml").unlink()
        if licence:
            about = read_model(folder).description.about
            assert (about.mpp, about.licence) == (0.5, licence)
            assert "NC" in about.data_licence
        else:
            with pytest.raises(ModelError, match=r"wsiseg\.toml into the folder with .mpp = 0\.5"):
                read_model(folder)


def test_without_thresholds_stardists_own_are_taken_and_said(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", drawn(CONFIG))
    assert read_model(folder).description.remarks == ()
    (folder / "thresholds.json").unlink()
    described = read_model(folder).description
    assert (described.probability, described.overlap) == (0.5, 0.4)
    assert "no thresholds.json" in described.remarks[0]
    (folder / "wsiseg.toml").write_text("mpp = 0.5\nprobability = 0.6\noverlap = 0.2\n")
    described = read_model(folder).description
    assert (described.probability, described.overlap) == (0.6, 0.2)
    assert described.remarks == ()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"n_dim": 3, "axes": "ZYXC"}, "three-dimensional"),
        ({"backbone": "resnet"}, "backbone = 'resnet' is not supported"),
        ({"axes": "CYX"}, "channels last"),
        ({"n_channel_in": 4}, "n_channel_in = 4"),
        ({"grid": [2, 4]}, r"grid \[2, 4\]"),
        ({"grid": [3, 3]}, r"grid \[3, 3\]"),
        ({"unet_activation": "swish"}, "unet_activation = 'swish'"),
        ({"unet_pool": [9, 9]}, "unet_pool"),
        ({"unet_kernel_size": [99, 99]}, "unet_kernel_size"),
        ({"unet_attention": True}, "unet_attention"),
        ({"unet_n_depth": 1000}, "unet_n_depth"),
        ({"unet_n_depth": 6, "grid": [8, 8]}, "stride of 512"),
        ({"n_rays": 9}, r"bias of dist|kernel of dist"),
        ({"unet_n_depth": 2}, r"lack .* down_level_1_no_0"),
        ({"unet_n_filter_base": 5}, r"kernel of conv2d has the shape \[3, 3, 3, 4\]"),
        ({"grid": [1, 1]}, "do not fit config.json"),
        ({"n_classes": 2}, r"tells 2 classes, but 0 are named"),
    ],
)
def test_what_cannot_be_run_is_refused_by_name(
    change: dict[str, Any], told: str, tmp_path: Path
) -> None:
    folder = write_model(tmp_path / "model", drawn(CONFIG))
    (folder / "config.json").write_text(json.dumps({**CONFIG, **change}))
    assert opening.recognises(folder)
    with pytest.raises(ModelError, match=told):
        read_model(folder)


@pytest.mark.parametrize(
    ("about", "told"),
    [
        ("mpp = 0", "mpp: "),
        ("name = 'x'", "mpp: "),
        ("mpp = 0.5\nmmp = 1", "mmp: "),
        ("mpp = 0.5\nclasses = ['a']", "tells no classes"),
        ("mpp = 0.5\npercentiles = [99, 1]", "percentiles must rise"),
        ("mpp = ", "cannot be used"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(about: str, told: str, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", drawn(CONFIG), about)
    with pytest.raises(ModelError, match=told):
        read_model(folder)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0x40
    path.write_bytes(content)


@pytest.mark.parametrize("harm", [cut, flip])
@pytest.mark.parametrize(
    ("kind", "file"),
    [
        ("tensorflow1", "variables/variables.index"),
        ("tensorflow1", "variables/variables.data-00000-of-00001"),
        ("tensorflow2", "variables/variables.data-00000-of-00001"),
    ],
)
def test_damage_to_a_savedmodel_is_found(
    true_files: Path, kind: str, file: str, harm: Callable[[Path], None], tmp_path: Path
) -> None:
    if kind == "tensorflow2" and harm is flip:
        pytest.skip("a third into the file lie names, which carry no checksum of their own")
    folder = tmp_path / "model"
    shutil.copytree(true_files / kind, folder)
    shutil.copy(true_files / "config.json", folder)
    (folder / "wsiseg.toml").write_text("mpp = 0.5\n")
    read_model(folder)
    harm(folder / file)
    with pytest.raises(ModelError, match=r"damaged|lack|cut short"):
        read_model(folder)


def test_damage_to_other_files_is_found(tmp_path: Path) -> None:
    plain = drawn(CONFIG)
    folder = write_model(tmp_path / "model", plain)
    cut(folder / "weights_best.h5")
    with pytest.raises(ModelError, match=r"cannot read the weights in .*weights_best\.h5"):
        read_model(folder)
    (folder / "weights_best.h5").unlink()
    with pytest.raises(ModelError, match="holds no weights"):
        read_model(folder)
    write_tfjs(folder, plain.weights)
    read_model(folder)
    cut(max(folder.glob("*.bin")))
    with pytest.raises(ModelError, match="cut short"):
        read_model(folder)
    (folder / "model.json").write_text(json.dumps({"format": "graph-model", "weightsManifest": []}))
    with pytest.raises(ModelError, match="graph model"):
        read_model(folder)
    (folder / "thresholds.json").write_text('{"prob": "high"}')
    with pytest.raises(ModelError, match=r"thresholds\.json"):
        read_model(folder)
    bad = Plain(CONFIG, {**plain.weights, "prob": {"kernel": np.full((1, 1, 6, 1), np.nan)}})
    bad.weights["prob"]["bias"] = np.zeros(1)
    with pytest.raises(ModelError, match="not finite"):
        read_model(write_model(tmp_path / "bad", bad))


def test_weights_do_not_lead_to_other_files(tmp_path: Path) -> None:
    import h5py

    plain = drawn(CONFIG)
    folder = write_model(tmp_path / "model", plain)
    other = tmp_path / "other.h5"
    other.write_bytes(hdf5(plain.weights))
    with h5py.File(folder / "weights_best.h5", "a") as file:
        del file["prob"]
        file["prob"] = h5py.ExternalLink(str(other), "prob")
    with pytest.raises(ModelError, match="not a file of weights"):
        read_model(folder)
    with h5py.File(folder / "weights_best.h5", "w") as file:
        raw = [(str(other), 0, 24)]
        file.create_dataset("prob/prob/kernel:0", (6,), "<f4", external=raw)
    with pytest.raises(ModelError, match="not a file of weights"):
        read_model(folder)


def test_a_missing_library_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_model(tmp_path / "model", drawn(CONFIG))

    def absent(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(hdf5_reading.importlib, "import_module", absent)
    with pytest.raises(MissingExtraError, match=r"wsiseg\[stardist\]"):
        read_model(folder)


def test_other_folders_are_left_to_other_formats(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "other"}')
    (tmp_path / "a.txt").write_text("")
    assert not opening.recognises(tmp_path)
    assert not opening.recognises(tmp_path / "a.txt")
    (tmp_path / "b.zip").write_bytes(b"no archive")
    assert not opening.recognises(tmp_path / "b.zip")
    assert not opening.recognises(Path(zoo.__file__).parent / "weights" / "nuclei-he")
