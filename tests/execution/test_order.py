"""What a run does when: nothing waits for what it does not need."""

from __future__ import annotations

from pathlib import Path

import pytest

import wsiseg
from runs import job_of
from wsiseg.demo import write_demo_slide
from wsiseg.execution.executor import InlineExecutor
from wsiseg.execution.tasks import ExportTask, MeasureTask, SurveyTask, Task


def test_exports_wait_for_features_only_where_they_show_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Task] = []
    submit = InlineExecutor.submit

    def noted(self: InlineExecutor, task: Task) -> None:
        begun.append(task)
        submit(self, task)

    monkeypatch.setattr(InlineExecutor, "submit", noted)
    demo = write_demo_slide(tmp_path / "demo.tiff", side_px=2048)
    assert not wsiseg.run(job_of(demo), tmp_path / "out", inline=True).failed
    names = [task.name if isinstance(task, ExportTask) else "" for task in begun]
    survey = next(i for i, task in enumerate(begun) if isinstance(task, SurveyTask))
    measured = [i for i, task in enumerate(begun) if isinstance(task, MeasureTask)]
    assert survey < names.index("labels") < measured[0]
    for name in ("geojson", "table"):
        assert names.index(name) > measured[-1]
    exported = [name for name in names if name]
    assert sorted(exported) == ["geojson", "labels", "overview", "table", "tissue"]
