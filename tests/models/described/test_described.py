"""Exported networks with a description: what each kind finds, window by window and in a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from numpy.typing import NDArray
from scipy import ndimage

pytest.importorskip("torch", reason="pip install 'wsiseg[train]'")
pytest.importorskip("onnx", reason="pip install onnx")

import wsiseg
from exported import KINDS, REACH, Dark, HoverTuple, describe, export_onnx, script
from runs import job_of, wsiseg_command
from wsiseg.models.described.segmenter import open_described
from wsiseg.models.segmenter import Instances, Segmenter
from wsiseg.models.zoo import load_segmenter
from wsiseg.slides.slide import open_slide
from wsiseg.testing.segmenters import check_segmenter

EXACT = ("hover", "boundary", "distances", "stars")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A described TorchScript network of every kind."""
    root = tmp_path_factory.mktemp("networks")
    for kind, (network, _) in KINDS.items():
        script(network(), root / kind / "network.pt")
        describe(root / kind, kind, "network.pt")
    return {kind: root / kind for kind in KINDS}


@pytest.fixture(scope="module")
def onnx_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The HoVer network in ONNX, for windows of any size."""
    folder = tmp_path_factory.mktemp("onnx")
    export_onnx(HoverTuple(), folder / "network.onnx", ["tp", "np", "hv"])
    return describe(folder, "hover", "network.onnx")


@pytest.fixture(scope="module")
def tissue(slides: Path) -> NDArray[np.uint8]:
    """A square of H&E skin at 0.5 µm/px, 640 px a side."""
    with open_slide(slides / "CMU-1-Small-Region.svs") as slide:
        box = type(slide.level0.box)(700, 1500, 1340, 2140)
        return np.asarray(slide.read(box, slide.level0))


@pytest.fixture(scope="module")
def part(slides: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A piece of that slide as a slide, 900 px a side."""
    path = tmp_path_factory.mktemp("slide") / "part.tiff"
    with open_slide(slides / "CMU-1-Small-Region.svs") as slide:
        box = type(slide.level0.box)(600, 1300, 1500, 2200)
        pixels = np.asarray(slide.read(box, slide.level0))
    resolution = (20000, 20000)  # pixels a centimetre
    tifffile.imwrite(
        path,
        pixels,
        tile=(256, 256),
        photometric="rgb",
        resolution=resolution,
        resolutionunit="CENTIMETER",
        metadata=None,
    )
    return path


def look(segmenter: Segmenter, window: NDArray[np.uint8]) -> Instances:
    statistics = segmenter.calibrate([window])
    (found,) = segmenter.decode(segmenter.predict(window[np.newaxis], statistics))
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_contract(folders: dict[str, Path], kind: str, tissue: NDArray[np.uint8]) -> None:
    segmenter = load_segmenter(str(folders[kind]), "cpu")
    assert segmenter.spec.exact == (kind in EXACT)
    check_segmenter(segmenter, [tissue[:320, :320], tissue[320:, 320:]])


@pytest.mark.parametrize("kind", KINDS)
def test_nuclei_are_where_the_slide_is_dark(
    folders: dict[str, Path], kind: str, tissue: NDArray[np.uint8]
) -> None:
    found = look(load_segmenter(str(folders[kind]), "cpu"), tissue)
    dark = darkness(tissue) > 0
    blobs, count = ndimage.label(dark)
    areas = np.bincount(blobs.ravel(), minlength=count + 1)
    blobs[(areas < 30)[blobs]] = 0
    mask = found.labels > 0
    # Discs of equal rays hit the dark only roughly.
    least = 0.3 if kind == "stars" else 0.75
    assert (mask & dark).sum() / (mask | dark).sum() > least
    assert len(found) > 0.7 * len(np.unique(blobs))
    if kind in ("hover", "boundary"):
        assert set(found.classes) == {0, 1}
        shade = ndimage.mean(darkness(tissue), found.labels, np.arange(len(found)) + 1)
        assert shade[found.classes == 0].mean() > shade[found.classes == 1].mean() + 0.02


def darkness(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What the networks see, above 0 in nuclei."""
    import torch

    values = torch.from_numpy(pixels[np.newaxis]).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        return np.asarray(Dark()(values)[0][0, 0].numpy())


@pytest.mark.parametrize("kind", EXACT)
def test_windows_agree(folders: dict[str, Path], kind: str, tissue: NDArray[np.uint8]) -> None:
    """What a smaller window shows whole is the very same there."""
    segmenter = load_segmenter(str(folders[kind]), "cpu")
    assert agreeing(segmenter, tissue, [(120, 64, 320), (300, 302, 338), (0, 200, 250)]) > 60


def agreeing(
    segmenter: Segmenter, tissue: NDArray[np.uint8], windows: list[tuple[int, int, int]]
) -> int:
    """Instances compared, each one the same in a window and in all of the tissue."""
    whole, compared = look(segmenter, tissue), 0
    reach = segmenter.spec.reach_px
    for x0, y0, side in windows:
        view = np.s_[y0 : y0 + side, x0 : x0 + side]
        part = look(segmenter, tissue[view])
        assert part.supports is not None
        for number, box in enumerate(part.supports, 1):
            if min(box[:2]) < reach or max(box[2:]) > side - reach:
                continue
            mine = part.labels == number
            (other,) = np.unique(whole.labels[view][mine])
            assert other > 0
            assert (whole.labels == other).sum() == mine.sum()
            assert np.array_equal(whole.labels[view] == other, mine)
            assert part.classes[number - 1] == whole.classes[other - 1]
            assert part.probabilities[number - 1] == whole.probabilities[other - 1]
            compared += 1
    return compared


def test_onnx_and_torchscript_agree(
    folders: dict[str, Path], onnx_folder: Path, tissue: NDArray[np.uint8]
) -> None:
    one, other = (load_segmenter(str(f), "cpu") for f in (folders["hover"], onnx_folder))
    assert (one.spec.runtime, other.spec.runtime) == ("torch-cpu-f32", "openvino-f32")
    a, b = look(one, tissue), look(other, tissue)
    # Two libraries round differently: a few pixels at thresholds may go either way.
    assert abs(len(a) - len(b)) <= 0.01 * len(a)
    assert ((a.labels > 0) != (b.labels > 0)).mean() < 1e-3
    check_segmenter(other, [tissue[:320, :320], tissue[320:, 320:]])
    assert agreeing(other, tissue, [(120, 64, 320), (300, 302, 338)]) > 60


def test_a_network_of_one_size_sees_windows_of_any_size(
    onnx_folder: Path, tmp_path: Path, tissue: NDArray[np.uint8]
) -> None:
    """As HoVer-Net: 94 px in, 80 px out; pieces whose edges are cut show nowhere."""
    network = export_onnx(HoverTuple(valid=True), tmp_path / "a.onnx", ["tp", "np", "hv"], 94)
    fed = f"divide = 255.0\nreach = {REACH}\nside = 94\nlost = {REACH}\n"
    pieces = open_described(describe(tmp_path, "hover", network.name, fed), "cpu")
    assert pieces.spec.exact
    whole = load_segmenter(str(onnx_folder), "cpu")
    for view in (np.s_[:256, :256], np.s_[100:390, 50:612], np.s_[:80, :78]):
        inner = np.s_[:, REACH:-REACH, REACH:-REACH]
        (a,) = pieces.predict(tissue[view][np.newaxis], {})
        (b,) = whole.predict(tissue[view][np.newaxis], {})
        assert a.shape == b.shape
        assert np.allclose(a[inner], b[inner], atol=1e-4)
    assert agreeing(pieces, tissue, [(120, 64, 320), (300, 302, 338)]) > 60


def test_a_padding_network_of_one_size_loses_what_its_edge_spoils(
    onnx_folder: Path, tmp_path: Path, tissue: NDArray[np.uint8]
) -> None:
    network = export_onnx(HoverTuple(), tmp_path / "a.onnx", ["tp", "np", "hv"], 96)
    fed = f"divide = 255.0\nreach = {REACH}\nside = 96\n"
    pieces = open_described(describe(tmp_path, "hover", network.name, fed), "cpu")
    (a,) = pieces.predict(tissue[np.newaxis, :256, :300], {})
    (b,) = load_segmenter(str(onnx_folder), "cpu").predict(tissue[np.newaxis, :256, :300], {})
    assert np.allclose(a[:, 8:-8, 8:-8], b[:, 8:-8, 8:-8], atol=1e-4)
    assert pieces.spec.exact
    fed = "divide = 255.0\nside = 96\nmargin = 0\n"
    cut = open_described(describe(tmp_path, "hover", network.name, fed), "cpu")
    assert not cut.spec.exact
    (c,) = cut.predict(tissue[np.newaxis, :256, :300], {})
    assert not np.allclose(c[:, 8:-8, 8:-8], b[:, 8:-8, 8:-8], atol=1e-2)


def test_large_windows_are_run_in_pieces(
    onnx_folder: Path, tissue: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    segmenter = load_segmenter(str(onnx_folder), "cpu")
    (whole,) = segmenter.predict(tissue[np.newaxis], {})
    monkeypatch.setattr("wsiseg.models.described.feeding.LARGEST_PIECE", 200)
    (parts,) = segmenter.predict(tissue[np.newaxis], {})
    inner = np.s_[:, REACH:-REACH, REACH:-REACH]
    assert np.array_equal(whole[inner], parts[inner])


def test_percentiles_are_measured_once_a_slide(
    folders: dict[str, Path], tmp_path: Path, tissue: NDArray[np.uint8]
) -> None:
    (tmp_path / "network.pt").write_bytes((folders["hover"] / "network.pt").read_bytes())
    fed = "percentiles = [1.0, 99.0]\nclip = [0.0, 1.0]\nreach = 7\n"
    segmenter = open_described(describe(tmp_path, "hover", "network.pt", fed), "cpu")
    statistics = segmenter.calibrate([tissue[:320], tissue[320:]])
    for k in range(3):
        low, high = np.percentile(tissue[..., k], [1, 99])
        assert abs(statistics["low"][k] - low) <= 1
        assert abs(statistics["high"][k] - high) <= 1
    # A window without a white pixel is not stretched by itself.
    half = (tissue // 2).astype(np.uint8)
    (plain,) = segmenter.predict(tissue[np.newaxis, :64, :64], statistics)
    (dimmed,) = segmenter.predict(half[np.newaxis, :64, :64], statistics)
    assert not np.allclose(plain, dimmed, atol=0.1)
    check_segmenter(segmenter, [tissue[:320, :320], tissue[320:, 320:]])


@pytest.mark.parametrize("kind", EXACT)
def test_tiles_do_not_show(folders: dict[str, Path], kind: str, part: Path, tmp_path: Path) -> None:
    """A run gives the same cells for tiles of two sizes."""
    tables = []
    for core in (256, 448):
        out = tmp_path / str(core)
        job = job_of(part, model=str(folders[kind]), core=core, device="cpu", trust=True)
        result = wsiseg.run(job, out, inline=True)
        assert not result.failed
        run = wsiseg.open_run(out)
        (name,) = run.complete
        tables.append(run.cells(name))
    assert tables[0].num_rows > 200
    assert tables[0].column_names == tables[1].column_names
    for one, other in zip(*tables, strict=True):
        # Where a ring is empty its stain is no number, in both.
        assert one.equals(other) or np.array_equal(one.to_numpy(), other.to_numpy(), equal_nan=True)


@pytest.mark.parametrize("kind", ["flows", "labels"])
def test_seams_show_little(folders: dict[str, Path], kind: str, part: Path, tmp_path: Path) -> None:
    """Where an answer hangs on the window: against tiles of another size 99.5 % of the cells match
    at an overlap over union of 0.9; one that was cut or doubled would not."""
    drawn = []
    for core in (256, 448):
        out = tmp_path / str(core)
        job = job_of(part, model=str(folders[kind]), core=core, device="cpu", trust=True)
        assert not wsiseg.run(job, out, inline=True).failed
        run = wsiseg.open_run(out)
        (name,) = run.complete
        labels = zarr.open_group(run.file(name, "labels"), mode="r")["nuclei"]["0"][:]
        assert labels.max() > 200
        drawn.append(labels)
    width = int(drawn[1].max()) + 1
    pairs = np.bincount(drawn[0].ravel().astype(np.int64) * width + drawn[1].ravel())
    shared = np.pad(pairs, (0, -len(pairs) % width)).reshape(-1, width)
    union = shared.sum(axis=1)[:, None] + shared.sum(axis=0)[None] - shared
    matched = (shared[1:, 1:] > 0.9 * union[1:, 1:]).sum()
    assert matched > 0.995 * max(shared.shape[0] - 1, width - 1)


def test_command_line_wants_trust(
    folders: dict[str, Path], part: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WSISEG_MODELS", str(tmp_path / "models"))
    command = (
        "run",
        part,
        "--out",
        tmp_path / "run",
        "--model",
        folders["labels"],
        "--device",
        "cpu",
    )
    refused = wsiseg_command(*command)
    assert refused.returncode != 0
    assert "--trust" in refused.stderr
    done = wsiseg_command(*command, "--trust")
    assert done.returncode == 0, done.stderr
    run = wsiseg.open_run(tmp_path / "run")
    (name,) = run.complete
    report = run.report(name)
    assert report["counts"]["nuclei"] > 200
    # The network's numbers hang on the window; its nuclei are settled at the seams.
    assert report["seams"]["kept"] == report["counts"]["nuclei"]
