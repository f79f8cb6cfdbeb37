"""Runtimes and devices: batches, memory that does not hold them, graphs, what is not there."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from wsiseg.errors import ModelError, WsisegError
from wsiseg.models import device, zoo
from wsiseg.models.device import choose_device, count_cuda, is_device, require_device
from wsiseg.models.network.files import ModelFolder
from wsiseg.models.network.runtime import OpenVinoRuntime, widened
from wsiseg.models.network.segmenter import NetworkSegmenter
from wsiseg.models.network.torch_runtime import Batches, Recorded, TorchRuntime

WEIGHTS = Path(zoo.__file__).parent / "weights" / "nuclei-he"

needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="needs torch: pip install 'wsiseg[train]'"
)


def windows(count: int, side: int = 64) -> NDArray[np.uint8]:
    """Windows ``[count, side, side, 3]`` of which the first pixel tells the number."""
    random = np.random.default_rng(0)
    made = random.integers(0, 255, (count, side, side, 3), np.uint8)
    made[:, 0, 0, 0] = np.arange(count)
    return made


class Card:
    """Stands for a graphics card that holds ``room`` pixels at once."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.batches: list[int] = []

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        import torch

        if pixels.shape[0] * pixels.shape[1] * pixels.shape[2] > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.batches.append(len(pixels))
        return pixels[:, :1, :1, 0].astype(np.float32)[:, np.newaxis]


@needs_torch
def test_a_batch_that_does_not_fit_is_halved_and_that_is_remembered_and_told() -> None:
    card = Card(room=3 * 64 * 64)
    batches = Batches(card, "cuda")
    assert batches.remarks == ()
    assert batches.run(windows(3)).ravel().tolist() == [0, 1, 2]
    assert batches.remarks == ()
    assert batches.run(windows(8)).ravel().tolist() == list(range(8))
    assert batches.run(windows(5)).ravel().tolist() == list(range(5))
    assert card.batches == [3, 2, 2, 2, 2, 2, 2, 1]
    (told,) = batches.remarks
    assert "memory of cuda" in told


@needs_torch
def test_smaller_windows_go_in_larger_batches_after_that() -> None:
    card = Card(room=2 * 64 * 64)
    batches = Batches(card, "cuda")
    batches.run(windows(4))
    card.batches.clear()
    assert batches.run(windows(10, side=32)).ravel().tolist() == list(range(10))
    assert card.batches == [8, 2]


@needs_torch
def test_a_single_window_that_does_not_fit_is_refused_with_what_to_do() -> None:
    with pytest.raises(ModelError, match=r"64 x 64 px .*cuda:1.*--workers.*--device cpu"):
        Batches(Card(room=64), "cuda:1").run(windows(4))


def test_a_shape_is_recorded_when_it_comes_twice_running() -> None:
    plain: list[tuple[int, ...]] = []
    recorded: list[tuple[int, ...]] = []

    def run(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        plain.append(pixels.shape)
        return pixels.astype(np.float32)

    def record(shape: tuple[int, ...]) -> Recorded:
        recorded.append(shape)
        return lambda pixels: pixels.astype(np.float32)  # type: ignore[return-value]

    engine = Recorded(run, record, most=2)
    sizes = [64, 64, 64, 32, 64, 32, 32, 16, 16, 64, 64]
    for side in sizes:
        given = windows(1, side)
        assert np.array_equal(engine(given), given)
    assert [shape[1] for shape in plain] == [64, 32, 32, 16, 64]
    assert [shape[1] for shape in recorded] == [64, 32, 16, 64]
    engine.forget()
    engine(windows(1, 32))
    assert plain[-1][1] == 32


@needs_torch
@pytest.mark.parametrize("name", ["openvino", "torch"])
def test_a_batch_gives_the_bits_of_its_windows_alone(name: str) -> None:
    folder = ModelFolder.open(WEIGHTS)
    runtime = OpenVinoRuntime(folder) if name == "openvino" else TorchRuntime(folder)
    network = folder.described.network
    pixels = windows(3, 96 + 2 * network.crop)
    together = runtime.run(pixels)
    alone = np.concatenate([runtime.run(pixels[k : k + 1]) for k in range(3)])
    assert together.shape == (3, folder.described.outputs, 48, 48)
    assert np.array_equal(together, alone)


def test_outputs_stay_as_they_are_while_anybody_reads_them() -> None:
    folder = ModelFolder.open(WEIGHTS)
    runtime, side = OpenVinoRuntime(folder), 96 + 2 * folder.described.network.crop
    first, second = windows(2, side)[:, np.newaxis]
    outputs = runtime.run(first)
    before, view = outputs.copy(), outputs[0, :1, 4:]
    del outputs
    others = [runtime.run(second) for _ in range(3)]
    assert np.array_equal(view, before[0, :1, 4:])
    assert not np.array_equal(others[0], before)
    assert all(np.array_equal(other, others[0]) for other in others)
    # Memory is used again once nobody reads it, and then holds what was asked for last.
    used = {other.ctypes.data for other in others}
    del others
    again = runtime.run(first)
    assert again.ctypes.data in used
    assert np.array_equal(again, before)


def test_windows_of_all_sizes_use_memory_again() -> None:
    folder = ModelFolder.open(WEIGHTS)
    runtime, twice = OpenVinoRuntime(folder), 2 * folder.described.network.crop
    expected = {side: runtime.run(windows(1, side + twice)).copy() for side in (32, 96, 64)}
    for side in (96, 32, 64, 32, 96):
        assert np.array_equal(runtime.run(windows(1, side + twice)), expected[side])
    runtime.let_go()
    assert np.array_equal(runtime.run(windows(1, 32 + twice)), expected[32])


@pytest.mark.parametrize("value", [0.0, 1.0, -2.5, 3.140625, 1e30, np.inf])
def test_halves_are_the_numbers_they_stand_for(value: float) -> None:
    whole = np.full((2, 3), value, np.float32)
    halves = (whole.view(np.uint32) >> 16).astype(np.uint16)
    there = value if np.isinf(value) else pytest.approx(value, rel=2**-7)
    assert widened(halves).dtype == np.float32
    assert widened(halves)[1, 2] == there
    assert np.array_equal(widened(whole), whole)


@pytest.mark.parametrize(
    ("text", "known"),
    [("auto", True), ("cpu", True), ("cuda", True), ("cuda:3", True)]
    + [(text, False) for text in ("", "gpu", "cuda:", "cuda:x", "CUDA", "cuda:0 ", "mps")],
)
def test_names_of_devices(text: str, known: bool) -> None:
    assert is_device(text) == known


def test_auto_takes_a_graphics_card_only_where_the_model_can_use_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(device, "count_cuda", lambda: 2)
    assert choose_device("auto", torch_weights=True) == "cuda"
    assert choose_device("auto", torch_weights=False) == "cpu"
    assert choose_device("cpu", torch_weights=True) == "cpu"
    assert choose_device("cuda:1", torch_weights=True) == "cuda:1"
    require_device("cuda:1")
    with pytest.raises(ModelError, match="numbered 0 to 1"):
        require_device("cuda:2")
    monkeypatch.setattr(device, "count_cuda", lambda: 0)
    assert choose_device("auto", torch_weights=True) == "cpu"
    require_device("cpu")


def test_models_without_a_network_are_settled_on_the_processor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(device, "count_cuda", lambda: 1)
    names = ("nuclei-he", "nuclei-he+macenko", "classical-he", "classical-he+macenko")
    assert [zoo.settle_device(name, "auto") for name in names] == ["cuda", "cuda", "cpu", "cpu"]
    with pytest.raises(ModelError, match="classical-he runs on the processor only"):
        zoo.settle_device("classical-he+macenko", "cuda")


def test_without_a_driver_torch_is_not_even_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "_DRIVER", "libsurelynotthere.so.1")
    assert count_cuda() == 0


@pytest.mark.skipif(count_cuda() > 0, reason="there is a graphics card")
def test_a_card_that_is_not_there_is_refused_and_not_replaced() -> None:
    segmenter = NetworkSegmenter(WEIGHTS, runtime="torch", device="cuda")
    assert segmenter.spec.runtime == "torch-cuda-f16"
    with pytest.raises(WsisegError, match=r"cuda"):
        segmenter.predict(windows(1, 256), {})
    with pytest.raises(WsisegError, match=r"cuda"):
        require_device("cuda")


@pytest.mark.skipif(count_cuda() == 0, reason="no graphics card that torch can use (CUDA)")
def test_the_card_agrees_with_the_processor() -> None:
    folder = ModelFolder.open(WEIGHTS)
    pixels = windows(2, 256)
    expected = TorchRuntime(folder).run(pixels)
    card = TorchRuntime(folder, "cuda")
    # Plainly, then recorded, then replayed.
    for _ in range(3):
        found = card.run(pixels)
        assert np.abs(found - expected).max() < 0.05 * np.abs(expected).max()
    assert np.array_equal(found, card.run(pixels))
