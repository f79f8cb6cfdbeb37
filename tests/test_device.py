"""The device of a run: asked for, settled, recorded, never replaced in silence."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import wsiseg
from runs import job_of, slide_folder
from wsiseg.cli.main import main
from wsiseg.demo import write_demo_slide
from wsiseg.errors import ConfigurationError, ModelError, ResultMismatchError, WsisegError
from wsiseg.models import device, zoo
from wsiseg.models.device import count_cuda
from wsiseg.models.network import torch_runtime
from wsiseg.pipeline.plan import read_plan

without_card = pytest.mark.skipif(count_cuda() > 0, reason="there is a graphics card")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_demo_slide(tmp_path_factory.mktemp("slide") / "demo.tiff", side_px=1024)


@pytest.fixture
def small_card(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """A graphics card that holds one window at a time, played by torch on the processor.

    Gives the sizes of the batches that were tried.
    """
    if importlib.util.find_spec("torch") is None:
        pytest.skip("needs torch: pip install 'wsiseg[train]'")
    import torch

    tried: list[int] = []

    def engine(runtime: torch_runtime.TorchRuntime) -> torch_runtime.Engine:
        on_processor = real(torch_runtime.TorchRuntime(runtime._source))

        def run(pixels: torch_runtime.Windows) -> NDArray[np.float32]:
            tried.append(len(pixels))
            if len(pixels) > 1:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return on_processor(pixels)

        return run

    real = torch_runtime.TorchRuntime._engine
    monkeypatch.setattr(torch_runtime.TorchRuntime, "_engine", engine)
    monkeypatch.setattr(device, "count_cuda", lambda: 1)
    # Segmenters are kept for the process: none made here may stay, none from before may serve.
    zoo._opened.cache_clear()
    yield tried
    zoo._opened.cache_clear()


def test_no_device_of_that_name(demo: Path) -> None:
    with pytest.raises(ConfigurationError, match="'gpu' is no device; give auto, cpu, cuda"):
        job_of(demo, device="gpu")


def test_the_option_is_named(
    demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["wsiseg", "run", str(demo), "-o", str(tmp_path / "out"), "--device", "tpu"]
    monkeypatch.setattr("sys.argv", arguments)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert "--device: 'tpu' is no device" in capsys.readouterr().err


@without_card
def test_a_card_that_is_not_there_refuses_the_run_before_anything_is_done(
    demo: Path, tmp_path: Path
) -> None:
    with pytest.raises(WsisegError, match="cuda"):
        wsiseg.run(job_of(demo, model="nuclei-he", device="cuda"), tmp_path / "out", inline=True)
    assert not (tmp_path / "out").exists()


def test_a_model_without_a_network_runs_on_the_processor_only(demo: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="classical-he runs on the processor only"):
        wsiseg.run(job_of(demo, device="cuda"), tmp_path / "out", inline=True)
    out = tmp_path / "auto"
    assert not wsiseg.run(job_of(demo, exports=("table",)), out, inline=True).failed
    report = wsiseg.open_run(out).report(wsiseg.open_run(out).complete[0])
    assert report["device"] == "cpu"


def test_a_full_card_takes_smaller_batches_and_the_report_tells(
    demo: Path, tmp_path: Path, small_card: list[int]
) -> None:
    out = tmp_path / "out"
    job = job_of(demo, model="nuclei-he", device="auto", exports=("table",), core=256)
    assert not wsiseg.run(job, out, inline=True).failed
    assert max(small_card) > 1
    assert small_card.count(1) > 2
    run = wsiseg.open_run(out)
    report = run.report(run.complete[0])
    assert report["device"] == "cuda"
    assert report["model"]["runtime"] == "torch-cuda-f16"
    assert not report["model"]["exact"]
    assert [w for w in report["warnings"] if "memory of cuda" in w]

    plain = tmp_path / "plain"
    small_card.clear()
    wsiseg.run(job.model_copy(update={"device": "cpu"}), plain, inline=True)
    assert not small_card
    other = wsiseg.open_run(plain)
    assert other.report(other.complete[0])["model"]["runtime"].startswith("openvino")
    counts = [r.cells(r.complete[0]).num_rows for r in (run, other)]
    assert min(counts) > 20
    assert abs(counts[0] - counts[1]) <= 0.05 * max(counts)


def test_a_slide_begun_on_a_card_is_not_gone_on_with_elsewhere(
    demo: Path,
    tmp_path: Path,
    small_card: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "out"
    job = job_of(demo, model="nuclei-he", exports=("table",))
    wsiseg.run(job, out, inline=True)
    folder = slide_folder(out)
    plan = read_plan(folder.plan)
    assert plan.device == "cuda"
    monkeypatch.setattr(device, "count_cuda", lambda: 0)
    with pytest.raises(ResultMismatchError, match=r"other settings \(device\)"):
        wsiseg.run(job, out, inline=True)
    with pytest.raises(ModelError, match="torch sees no graphics card"):
        wsiseg.run(job.model_copy(update={"device": "cuda"}), out, inline=True)
