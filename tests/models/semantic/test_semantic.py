"""Semantic networks: their reach, their tiles, their files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from wsiseg.errors import ModelError, ResolutionError
from wsiseg.geometry import MPP, Box, Frame, Size
from wsiseg.models.semantic.files import SemanticFolder, find_semantic
from wsiseg.models.semantic.predict import (
    class_frame,
    class_rows,
    network_frame,
    probability_rows,
)
from wsiseg.models.semantic.running import SemanticTorchRuntime, open_runtime

torch = pytest.importorskip("torch")

from tissue_networks import noise, random_network, shape_of  # noqa: E402
from wsiseg.models.semantic.architecture import (  # noqa: E402
    ClassNetwork,
    SemanticNetwork,
    measure_reach,
)
from wsiseg.models.semantic.running import load_network  # noqa: E402

HEIGHT, WIDTH = 300, 420
FRAME = Frame(Size(WIDTH, HEIGHT), MPP.square(1.0))
PICTURE = noise(HEIGHT, WIDTH)
Read = Callable[[Box, Frame], NDArray[np.uint8]]

KINDS = {
    "unet": {},
    "fpn": {"encoder": "resnet10t", "levels": 3, "decoder": "fpn", "widths": (24,)},
}


def read(box: Box, frame: Frame) -> NDArray[np.uint8]:
    whole = np.full((*box.shape, 3), 255, np.uint8)
    inside = box.intersection(frame.box)
    whole[inside.slices(box)] = PICTURE[inside.slices()]
    return whole


def probabilities(folder: SemanticFolder, core: int | None = None) -> NDArray[np.float32]:
    rows = probability_rows(read, FRAME, folder.described, open_runtime(folder), core)
    return np.concatenate(list(rows), axis=1)


@pytest.fixture(scope="module", params=list(KINDS))
def folder(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> SemanticFolder:
    return random_network(tmp_path_factory.mktemp(request.param) / "net", **KINDS[request.param])


@pytest.fixture(scope="module")
def transformer(tmp_path_factory: pytest.TempPathFactory) -> SemanticFolder:
    return random_network(
        tmp_path_factory.mktemp("vit") / "net",
        encoder="vit_tiny_patch16_224",
        levels=3,
        widths=(24, 16),
        window=128,
        grid=4,
    )


def test_tiles_never_show(folder: SemanticFolder) -> None:
    stride = folder.described.network.stride
    whole = probabilities(folder, 512)
    for core in (8 * stride, 13 * stride):
        assert np.array_equal(probabilities(folder, core), whole)
    # The picture is not all one to the network: a seam would be seen.
    assert len(np.unique(whole.argmax(0))) > 1
    assert whole.std(axis=(1, 2)).max() > 0.02


def test_the_halo_is_what_hides_the_tiles(folder: SemanticFolder) -> None:
    shape = folder.described.network
    bare = folder.described.model_copy(
        update={"halo": 0, "network": shape.model_copy(update={"reach_px": 0})}
    )
    rows = probability_rows(read, FRAME, bare, open_runtime(folder), 8 * shape.stride)
    assert np.abs(np.concatenate(list(rows), axis=1) - probabilities(folder, 512)).max() > 0.05


def test_a_halo_below_the_reach_is_refused(folder: SemanticFolder) -> None:
    narrow = folder.described.model_copy(update={"halo": 0})
    with pytest.raises(ModelError, match="tiles would show"):
        list(probability_rows(read, FRAME, narrow, open_runtime(folder)))


def test_a_slide_in_one_piece_gives_the_same(folder: SemanticFolder) -> None:
    described, halo = folder.described, folder.described.halo
    side = 512 + 2 * halo
    box = Box(-halo, -halo, side - halo, side - halo)
    with torch.inference_mode():
        network = ClassNetwork(load_network(folder)).eval()
        logits = network(torch.from_numpy(read(box, FRAME)[np.newaxis]))[0]
        expected = torch.softmax(logits, 0).numpy()
    grid, edge = described.network.grid, halo // described.network.grid
    size = class_frame(FRAME, described).size
    expected = expected[:, edge : edge + size.height, edge : edge + size.width]
    runtime = SemanticTorchRuntime(folder, "cpu")
    rows = probability_rows(read, FRAME, described, runtime, 8 * described.network.stride)
    found = np.concatenate(list(rows), axis=1)
    assert found.shape == (4, -(-HEIGHT // grid), -(-WIDTH // grid))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_openvino_and_torch_agree(folder: SemanticFolder) -> None:
    rows = class_rows(read, FRAME, folder.described, SemanticTorchRuntime(folder, "cpu"))
    by_torch = np.concatenate(list(rows))
    assert (probabilities(folder).argmax(0) == by_torch).mean() > 0.97


def test_nothing_beyond_the_reach_matters(folder: SemanticFolder) -> None:
    network = load_network(folder).double()
    reach, stride = folder.described.network.reach_px, network.stride
    assert reach is not None
    side = 2 * (-(-reach // stride) * stride) + 4 * stride
    middle = side // 2 // stride * stride
    pixels = torch.rand(1, 3, side, side, dtype=torch.float64)
    changed = torch.rand(1, 3, side, side, dtype=torch.float64)
    near = slice(middle - reach, middle + stride + reach)
    changed[..., near, near] = pixels[..., near, near]
    cells = slice(middle // network.grid, (middle + stride) // network.grid)
    with torch.inference_mode():
        one, two = (network(p)[..., cells, cells] for p in (pixels, changed))
    assert torch.equal(one, two)


def test_statistics_of_the_window_have_no_reach() -> None:
    network = SemanticNetwork(
        shape_of(encoder="mobilenetv3_small_050", levels=2, widths=(16,), grid=2), 2
    )
    assert measure_reach(network.eval()) is None


class Moody:
    """Gives every window another answer, the same all over."""

    identity = "moody"

    def __init__(self) -> None:
        self.asked = 0

    def run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.asked += 1
        logits = np.zeros((1, 4, pixels.shape[1] // 4, pixels.shape[2] // 4), np.float32)
        logits[:, self.asked % 2] = 4.0
        return logits


def test_windows_that_disagree_are_blended(transformer: SemanticFolder) -> None:
    described = transformer.described
    assert described.network.reach_px is None
    assert described.core + 2 * described.halo == described.network.window == 128
    found = np.concatenate(list(probability_rows(read, FRAME, described, Moody())), axis=1)
    np.testing.assert_allclose(found.sum(0), 1, atol=1e-5)
    most = float(found.max() - found.min())
    assert most > 0.8
    overlap = 2 * described.halo // described.network.grid
    for axis in (1, 2):
        assert np.abs(np.diff(found, axis=axis)).max() <= most / overlap + 1e-5
    sharp = described.network.model_copy(update={"reach_px": 0})
    cut = described.model_copy(update={"network": sharp})
    rows = probability_rows(read, FRAME, cut, Moody())
    assert np.abs(np.diff(np.concatenate(list(rows), axis=1), axis=2)).max() > 0.8


def test_transformers_run(transformer: SemanticFolder) -> None:
    found = probabilities(transformer)
    assert found.shape == (4, HEIGHT // 4, WIDTH // 4)
    np.testing.assert_allclose(found.sum(0), 1, atol=1e-5)
    assert found.std(axis=(1, 2)).max() > 0.01


def test_rows_come_a_window_at_a_time(folder: SemanticFolder) -> None:
    core = 8 * folder.described.network.stride
    grid = folder.described.network.grid
    rows = list(class_rows(read, FRAME, folder.described, open_runtime(folder), core))
    assert max(len(some) for some in rows) <= core // grid
    assert sum(len(some) for some in rows) == -(-HEIGHT // grid)


def test_frames(folder: SemanticFolder) -> None:
    described = folder.described
    fine = Frame(Size(4000, 3000), MPP.square(0.26))
    assert network_frame(fine, described, "s").mpp.x == pytest.approx(1.04)
    odd = Frame(Size(4000, 3000), MPP.square(0.7))
    assert network_frame(odd, described, "s").mpp.x == pytest.approx(1.0)
    with pytest.raises(ResolutionError, match="too coarse"):
        network_frame(Frame(Size(400, 300), MPP.square(3.0)), described, "s")


def test_wrong_pixels_are_refused(folder: SemanticFolder) -> None:
    def deep(box: Box, frame: Frame) -> NDArray[np.uint8]:
        return read(box, frame).astype(np.uint16)  # type: ignore[return-value]

    with pytest.raises(ModelError, match="8-bit RGB"):
        next(iter(class_rows(deep, FRAME, folder.described, open_runtime(folder))))


def changed(folder: SemanticFolder, place: Path, **update: object) -> Path:
    shutil.copytree(folder.root, place)
    values = json.loads((place / "model.json").read_text())
    (place / "model.json").write_text(json.dumps({**values, **update}))
    return place


@pytest.mark.parametrize(
    ("update", "message"),
    [
        ({"kind": "nuclei"}, "does not find tissue"),
        ({"mpp": -1.0}, "mpp"),
        ({"halo": 3}, "multiples"),
        ({"classes": [{"name": "A", "color": [0, 0, 0]}] * 2}, "same name"),
        ({"surprise": 1}, "surprise"),
        ({"classes": [{"name": n, "color": [0, 0, 0], "counts": "other"} for n in "ab"]}, "tissue"),
    ],
)
def test_bad_descriptions(
    folder: SemanticFolder, tmp_path: Path, update: dict[str, object], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        find_semantic(str(changed(folder, tmp_path / "bad", **update)))


def test_a_missing_folder_and_a_network_of_nuclei(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="holds no tissue network"):
        find_semantic(str(tmp_path / "nothing"))
    from wsiseg.models.zoo import find_model

    with pytest.raises(ModelError, match="--model"):
        find_semantic(str(find_model("nuclei-he")))


def test_other_weights_than_described(folder: SemanticFolder, tmp_path: Path) -> None:
    place = changed(folder, tmp_path / "bad")
    (place / "model.bin").write_bytes(b"other")
    with pytest.raises(ModelError, match="sha256"):
        probabilities(SemanticFolder.open(place))


def test_wrong_number_of_classes(folder: SemanticFolder, tmp_path: Path) -> None:
    values = json.loads((folder.root / "model.json").read_text())
    place = changed(folder, tmp_path / "bad", classes=values["classes"][:2])
    with pytest.raises(ModelError, match="cannot use the weights"):
        load_network(SemanticFolder.open(place))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder": "no_such_network"}, "no_such_network"),
        ({"widths": (8,)}, "needs 2 widths"),
        ({"decoder": "fpn", "widths": (8, 8)}, "one width"),
        ({"grid": 3}, "does not divide"),
        ({"levels": 6}, "feature maps"),
    ],
)
def test_impossible_networks(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        SemanticNetwork(shape_of(**changes), 2)


def test_the_digest_follows_what_decides(folder: SemanticFolder, tmp_path: Path) -> None:
    named = SemanticFolder.open(changed(folder, tmp_path / "a", name="other", licence="MIT"))
    assert named.digest == folder.digest
    tidied = SemanticFolder.open(changed(folder, tmp_path / "b", tidying={"margin_um": 8.0}))
    assert tidied.digest != folder.digest
