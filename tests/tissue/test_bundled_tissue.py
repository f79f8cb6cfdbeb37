"""The tissue network of the package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from wsiseg.errors import ModelError
from wsiseg.models.network.files import GRAPH, GRAPH_WEIGHTS, WEIGHTS
from wsiseg.models.semantic.files import BUNDLED, find_semantic
from wsiseg.models.zoo import load_segmenter
from wsiseg.slides.array_reader import ArrayReader
from wsiseg.slides.slide import Slide, open_slide
from wsiseg.tissue import TissueCode, TissueMask, find_tissue, tissue_by_network
from wsiseg.tissue.brightfield import glass_level


def tissue(mask: TissueMask) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = mask.codes == TissueCode.TISSUE
    return found


def dice(one: NDArray[np.bool_], two: NDArray[np.bool_]) -> float:
    return float(2 * (one & two).sum() / max(one.sum() + two.sum(), 1))


@pytest.mark.parametrize("name", BUNDLED)
def test_files_are_those_described(name: str) -> None:
    folder = find_semantic(name)
    for file in (WEIGHTS, GRAPH, GRAPH_WEIGHTS):
        folder.checked(file)
    assert sum(p.stat().st_size for p in folder.root.iterdir()) < 5_000_000
    assert "NC" not in folder.described.licence + folder.described.data_licence
    assert (folder.root / "CARD.md").is_file()


def test_it_is_no_model_of_nuclei() -> None:
    with pytest.raises(ModelError, match="--tissue"):
        load_segmenter(str(find_semantic("tissue").root))


@pytest.mark.parametrize("name", ["metaplasia_IHC_trypsin_20x.svs", "CMU-1-Small-Region.svs"])
def test_plain_slides_look_as_they_do_to_the_classical_method(slides: Path, name: str) -> None:
    with open_slide(slides / name) as slide:
        classical, network = find_tissue(slide), tissue_by_network(slide, "tissue")
    assert dice(tissue(classical), tissue(network)) > 0.93


def test_faint_tissue_is_found_where_the_plain_one_lies(slides: Path) -> None:
    with open_slide(slides / "metaplasia_IHC_trypsin_20x.svs") as slide:
        plain = find_tissue(slide)
        pixels = slide.read(plain.frame.box, plain.frame)
    truth = np.pad(tissue(plain), 64)
    glass = glass_level(pixels)
    density = np.pad(-np.log10(np.maximum(pixels, 1) / glass), ((64, 64), (64, 64), (0, 0)))
    faint = np.clip(np.rint(glass * 10 ** (-0.15 * density)), 0, 255).astype(np.uint8)
    with Slide(ArrayReader(faint, plain.frame.mpp, illumination="brightfield")) as slide:
        network = tissue_by_network(slide, "tissue")
    assert dice(truth, tissue(network)) > 0.85


def test_ink_is_no_tissue(slides: Path) -> None:
    pixels = np.full((256, 256, 3), 243, np.uint8)
    pixels[100:124, 30:220] = (30, 110, 60)
    with Slide(ArrayReader(pixels, 8.0, illumination="brightfield")) as slide:
        mask = tissue_by_network(slide, "tissue")
    assert mask.classes is not None
    ink = mask.classes.read(mask.classes.frame.box)[100:124, 30:220]
    assert (ink == mask.classes.index_of("Artefact")).mean() > 0.8


def test_it_runs_without_torch() -> None:
    code = (
        "import sys, numpy as np; sys.modules['torch'] = None;"
        "from wsiseg.slides.array_reader import ArrayReader; from wsiseg.slides.slide import Slide;"
        "from wsiseg.tissue import tissue_by_network;"
        "s = Slide(ArrayReader(np.full((64, 64, 3), 240, np.uint8), 8.0));"
        "assert tissue_by_network(s, 'tissue').area_mm2() == 0"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)
