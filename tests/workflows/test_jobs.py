"""The jobs in workflows/: each is run on a small slide of its kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import typer
from typer.testing import CliRunner

import wsiseg
from archives import tissue_pixels, write_slide
from wsiseg.cli.main import app
from wsiseg.errors import ConfigurationError
from wsiseg.job import Job, read_job

WORKFLOWS = Path(__file__).parents[2] / "workflows"
JOBS = {
    "nuclei-he": "brightfield",
    "nuclei-ihc": "brightfield",
    "nuclei-fluorescence": "fluorescence",
    "overlays": "brightfield",
    "first-look": "brightfield",
}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small slide of each illumination."""
    folder = tmp_path_factory.mktemp("slides")
    pixels = tissue_pixels(600, 500, 3)
    bright = write_slide(folder / "bright.tif", pixels)
    dark = np.stack([255 - pixels[:, :, 0], pixels[:, :, 1] // 8]).astype(np.uint16)
    fluorescence = folder / "two channels.ome.tif"
    tifffile.imwrite(
        fluorescence,
        dark,
        tile=(256, 256),
        photometric="minisblack",
        metadata={
            "axes": "CYX",
            "Channel": {"Name": ["DAPI", "TRITC"]},
            "PhysicalSizeX": 0.5,
            "PhysicalSizeXUnit": "µm",
            "PhysicalSizeY": 0.5,
            "PhysicalSizeYUnit": "µm",
        },
    )
    return {"brightfield": bright, "fluorescence": fluorescence}


def test_every_job_is_run_by_a_test() -> None:
    files = {path.stem for path in WORKFLOWS.glob("*.toml")}
    others = {name for name in files if name.startswith("train-")} | {"slurm-cluster"}
    assert files - others == set(JOBS)


@pytest.mark.parametrize("name", JOBS)
def test_jobs_run(name: str, small: dict[str, Path], tmp_path: Path) -> None:
    job = read_job(WORKFLOWS / f"{name}.toml", [small[JOBS[name]]])
    result = wsiseg.run(job, tmp_path, inline=True)
    assert not result.failed, result.slides
    run = wsiseg.open_run(tmp_path)
    (slide,) = run.complete
    assert sorted(run.report(slide)["exports"]) == sorted(job.exports)
    assert run.report(slide)["counts"]["nuclei"] > 50


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """Jobs that the command line asks for, in place of doing them."""
    jobs: list[Job] = []

    def take(job: Job, *_: Any, **__: Any) -> None:
        jobs.append(job)
        raise typer.Exit(0)

    monkeypatch.setattr("wsiseg.execution.api.run", take)
    return jobs


def write_job(folder: Path, **lines: str) -> Path:
    path = folder / "job.toml"
    path.write_text("".join(f"{key} = {value}\n" for key, value in lines.items()))
    return path


def call(*arguments: str | Path) -> int:
    result = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=True)
    if isinstance(result.exception, ConfigurationError):
        raise result.exception
    return result.exit_code


def test_a_file_says_everything(asked: list[Job], small: dict[str, Path], tmp_path: Path) -> None:
    file = write_job(
        tmp_path,
        slides=f"['{small['brightfield']}']",
        model="'classical-he'",
        exports="['overview']",
        split_um="300",
        damaged="'fill'",
    )
    assert call("run", "--job", file, "-o", tmp_path / "out") == 0
    (job,) = asked
    assert [entry.path for entry in job.slides] == [small["brightfield"]]
    assert (job.model, job.exports, job.split_um) == ("classical-he", ("overview",), 300)
    assert job.damaged == "fill"


def test_what_stands_beside_the_file_counts_more(
    asked: list[Job], small: dict[str, Path], tmp_path: Path
) -> None:
    file = write_job(
        tmp_path,
        slides="['nowhere.tif']",
        model="'classical-he'",
        exports="['overview']",
        mpp="0.3",
        tissue="'none'",
    )
    beside = ["--export", "table", "--mpp", "0.5", "--model", "nuclei-he"]
    call("run", small["brightfield"], "--job", file, "-o", tmp_path / "out", *beside)
    (job,) = asked
    assert [entry.path for entry in job.slides] == [small["brightfield"]]
    assert (job.exports, job.mpp, job.model) == (("table",), 0.5, "nuclei-he")
    assert job.tissue == "none"


def test_neither_slides_nor_a_file_is_wrong_usage(asked: list[Job], tmp_path: Path) -> None:
    assert call("run", "-o", tmp_path / "out") == 2
    assert asked == []


def test_an_unknown_key_is_named(asked: list[Job], small: dict[str, Path], tmp_path: Path) -> None:
    file = write_job(tmp_path, model="'classical-he'", colour="'red'")
    with pytest.raises(ConfigurationError, match=r"job\.toml.*colour"):
        call("run", small["brightfield"], "--job", file, "-o", tmp_path / "out")
    assert asked == []
