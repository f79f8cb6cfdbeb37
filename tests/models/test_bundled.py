"""What every network that comes with the package must satisfy."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from wsiseg.errors import ModelError
from wsiseg.geometry import Box
from wsiseg.models import zoo
from wsiseg.models.licence import require_commercial
from wsiseg.models.network.files import CARD, GRAPH, GRAPH_WEIGHTS, WEIGHTS, ModelFolder
from wsiseg.models.network.segmenter import NetworkSegmenter
from wsiseg.slides.reader import Pixels
from wsiseg.slides.slide import Slide, open_slide
from wsiseg.testing.segmenters import check_segmenter

ROOT = Path(zoo.__file__).parent / "weights"
NAMES = ("nuclei-he", "nuclei-he-nc", "nuclei-fluo")
LARGEST_BYTES = 20_000_000
SIDE = 640


@pytest.fixture(scope="module")
def segmenters() -> dict[str, NetworkSegmenter]:
    return {name: NetworkSegmenter(ROOT / name) for name in NAMES}


def tissue_of(slide: Slide, corner: tuple[int, int], channels: tuple[int, ...]) -> Pixels:
    """A square at about 0.5 µm/px."""
    frame = slide.level0.reduced(max(1, round(0.5 / slide.level0.mpp.mean)))
    x, y = corner
    return slide.read(Box(x, y, x + SIDE, y + SIDE), frame, channels)


@pytest.fixture(scope="module")
def tissues(slides: Path) -> dict[str, Pixels]:
    """By illumination, ``[y, x, c]``."""
    with open_slide(slides / "CMU-1-Small-Region.svs") as slide:
        bright = tissue_of(slide, (700, 1500), (0, 1, 2))
    with open_slide(slides / "test3_DAPI_TRITC_2ch.ome.tiff") as slide:
        glowing = tissue_of(slide, (800, 1200), slide.channel_indices(["DAPI"]))
    return {"brightfield": bright, "fluorescence": glowing}


def needs_torch() -> None:
    for name in ("torch", "timm", "safetensors"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"needs {name}: pip install 'wsiseg[train]'")


@pytest.mark.parametrize("name", NAMES)
def test_files_are_those_described_and_small(name: str) -> None:
    folder = ModelFolder.open(ROOT / name)
    assert folder.described.name == name
    for file in (WEIGHTS, GRAPH, GRAPH_WEIGHTS):
        assert folder.checked(file).stat().st_size < LARGEST_BYTES
    assert f"# {name}" in (ROOT / name / CARD).read_text()


@pytest.mark.parametrize("name", NAMES)
def test_contract_on_real_tissue(
    name: str, segmenters: dict[str, NetworkSegmenter], tissues: dict[str, Pixels]
) -> None:
    segmenter = segmenters[name]
    tissue = tissues[segmenter.spec.illumination]
    (found,) = segmenter.decode(
        segmenter.predict(tissue[np.newaxis], segmenter.calibrate([tissue]))
    )
    assert len(found) > 30
    windows = [np.ascontiguousarray(tissue[:480, :480]), np.ascontiguousarray(tissue[160:, 160:])]
    check_segmenter(segmenter, windows)


@pytest.mark.parametrize("name", NAMES)
def test_runtimes_agree_on_instances(
    name: str, segmenters: dict[str, NetworkSegmenter], tissues: dict[str, Pixels]
) -> None:
    needs_torch()
    segmenter, other = segmenters[name], NetworkSegmenter(ROOT / name, runtime="torch")
    assert other.spec.sha256 == segmenter.spec.sha256
    assert other.spec.runtime != segmenter.spec.runtime
    tissue = tissues[segmenter.spec.illumination]
    statistics = segmenter.calibrate([tissue])
    (one,), (two,) = (
        s.decode(s.predict(tissue[np.newaxis], statistics)) for s in (segmenter, other)
    )
    overlap = np.zeros((len(one) + 1, len(two) + 1))
    np.add.at(overlap, (one.labels, two.labels), 1)
    areas = overlap.sum(1)[1:, None] + overlap.sum(0)[None, 1:]
    iou = overlap[1:, 1:] / (areas - overlap[1:, 1:])
    assert (iou > 0.7).sum() > 0.95 * max(len(one), len(two))


@pytest.mark.parametrize("name", NAMES)
def test_reach_is_what_the_gradient_says(name: str) -> None:
    needs_torch()
    from wsiseg.models.network.architecture import Architecture, StarNetwork, measure_reach

    shape = ModelFolder.open(ROOT / name).described.network
    # Widths do not change it, and narrow decoders are quick.
    narrow = tuple(8 for _ in shape.widths)
    network = StarNetwork(
        Architecture(shape.encoder, shape.stages, narrow, 8, shape.rays, shape.channels)
    )
    assert network.stride == shape.stride
    assert measure_reach(network) == shape.reach_px


def test_only_the_one_trained_on_non_commercial_data_is_refused(
    segmenters: dict[str, NetworkSegmenter],
) -> None:
    for name in ("nuclei-he", "nuclei-fluo"):
        require_commercial(segmenters[name].spec)
    spec = segmenters["nuclei-he-nc"].spec
    assert spec.licence == "CC-BY-NC-SA-4.0"
    assert "MoNuSeg_train30" in spec.trained_on
    with pytest.raises(ModelError, match=r"nuclei-he-nc .* CC-BY-NC-SA-4\.0"):
        require_commercial(spec)


def test_depth_and_gain_of_a_fluorescence_camera_do_not_matter(
    segmenters: dict[str, NetworkSegmenter], tissues: dict[str, Pixels]
) -> None:
    segmenter, tissue = segmenters["nuclei-fluo"], tissues["fluorescence"]
    deep = tissue.astype(np.uint16) * 40 + 300
    found = []
    for pixels in (tissue, deep):
        statistics = segmenter.calibrate([pixels])
        (one,) = segmenter.decode(segmenter.predict(pixels[np.newaxis], statistics))
        found.append(one.labels)
    assert np.array_equal(*found)


def test_fluorescence_windows_of_the_wrong_kind_are_refused(
    segmenters: dict[str, NetworkSegmenter],
) -> None:
    segmenter = segmenters["nuclei-fluo"]
    with pytest.raises(ModelError, match="one channel, the nuclear one, not 3 channels"):
        segmenter.predict(np.zeros((1, 64, 64, 3), np.uint8), segmenter.calibrate([]))
