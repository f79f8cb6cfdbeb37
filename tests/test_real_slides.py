"""Every real slide: segmented or refused, as expected of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import wsiseg
from runs import job_of
from wsiseg.job import Export

FAST: tuple[Export, ...] = ("table", "geojson")


@dataclass(frozen=True)
class Expected:
    """What becomes of a slide: nuclei in a range, or a reason to refuse it."""

    file: str
    settings: dict[str, Any] = field(default_factory=dict)
    nuclei: tuple[int, int] | None = None
    refused: str = ""

    def __str__(self) -> str:
        told = "-".join(f"{k}={v}" for k, v in self.settings.items())
        return f"{self.file}[{told}]"


FLUO = {"model": "classical-fluo"}
HE = {"model": "nuclei-he"}

EXPECTED = (
    Expected("CMU-1-Small-Region.svs", nuclei=(1500, 6000)),
    Expected("CMU-1-Small-Region.svs", HE, nuclei=(1500, 8000)),
    Expected("giardia_HE_GT450_lefthalf.svs", nuclei=(70_000, 160_000)),
    Expected("metaplasia_IHC_trypsin_20x.svs", nuclei=(3000, 60_000)),
    Expected("metaplasia_IHC_trypsin_20x.svs", HE, nuclei=(20_000, 90_000)),
    Expected("TCGA-CR-7395-01A-01-TS1.svs", refused="--mpp"),
    Expected("TCGA-CR-7395-01A-01-TS1.svs", {"mpp": 0.5}, nuclei=(500, 40_000)),
    Expected("TCGA-CR-7395-01A-01-TS1.svs", {**HE, "mpp": 0.5}, nuclei=(500, 40_000)),
    Expected("test3-DAPI-2-(387).ndpi", refused="nuclei-fluo"),
    Expected("test3-DAPI-2-(387).ndpi", FLUO, refused="--channel"),
    Expected("test3-DAPI-2-(387).ndpi", {**FLUO, "channel": "blue"}, nuclei=(1500, 5000)),
    Expected("test3-TRITC 2 (560).ndpi", {**FLUO, "channel": "green-ish"}, refused="green"),
    Expected("test3_DAPI_TRITC_2ch.ome.tiff", refused="nuclei-fluo"),
    Expected("test3_DAPI_TRITC_2ch.ome.tiff", FLUO, refused="DAPI"),
    Expected("test3_DAPI_TRITC_2ch.ome.tiff", {**FLUO, "channel": "DAPI"}, nuclei=(1500, 5000)),
    Expected("test3_DAPI_TRITC_2ch.ome.tiff", {**FLUO, "channel": "1"}, nuclei=(1500, 5000)),
    Expected("A_BB_574162_1.svs", refused="1000"),
    Expected("A_BB_574162_1.svs", {"mpp": 3.0}, refused="too coarse"),
    Expected("CRC-AI-15_X40_IHC.tif", refused="1000"),
    Expected("kidney-48-5.tif", refused="--mpp"),
    Expected("multi_frame_jpeg2000_camelyon_challenge_image.dcm", refused="too coarse"),
    Expected("broken/CMU-1-Small-Region_truncated_1MB.svs", refused="truncated_1MB"),
    Expected("broken/TCGA-TS1_truncated_3MB.svs", {"mpp": 0.5}, refused="truncated_3MB"),
    Expected("broken/histolab_broken_not_tiff.svs", refused="not_tiff"),
    Expected("broken/metaplasia_IHC_bitrot.svs", refused="--damaged fill"),
    Expected("broken/metaplasia_IHC_bitrot.svs", {"damaged": "fill"}, nuclei=(3000, 60_000)),
)


@pytest.mark.parametrize("expected", EXPECTED, ids=str)
def test_expected_outcome(slides: Path, tmp_path: Path, expected: Expected) -> None:
    job = job_of(slides / expected.file, exports=FAST, **expected.settings)
    result = wsiseg.run(job, tmp_path, inline=True)
    (outcome,) = result.slides.values()
    if expected.nuclei is None:
        assert outcome.state == "failed"
        assert expected.refused in outcome.reason
        assert "unexpected" not in outcome.reason
        return
    assert outcome.state == "complete", outcome.reason
    low, high = expected.nuclei
    assert outcome.nuclei is not None
    assert low < outcome.nuclei < high
    report = wsiseg.open_run(tmp_path).report(outcome.name)
    assert report["exports"]["geojson"]["notes"]["left_out"] == 0
    assert (report["counts"]["damaged_places"] > 0) == ("bitrot" in expected.file)


def test_every_slide_has_its_expectation(slides: Path) -> None:
    there = {
        str(p.relative_to(slides)) for p in slides.rglob("*") if p.is_file() and p.suffix != ".md"
    }
    assert there == {e.file for e in EXPECTED}
