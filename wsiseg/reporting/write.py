"""``report.html`` of a slide and ``cohort.html`` of a run, written from a finished run."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from wsiseg import __version__
from wsiseg.errors import StoreError
from wsiseg.execution.results import Run
from wsiseg.files import writing
from wsiseg.pipeline.exports import FILES
from wsiseg.reporting.cells import class_shares, distributions
from wsiseg.reporting.cohort import Cohort, CohortSlide, read_slide
from wsiseg.reporting.cohort_page import cohort_page
from wsiseg.reporting.fields import fault_map, read_fields
from wsiseg.reporting.pictures import draw_pictures, png
from wsiseg.reporting.scored import read_scored
from wsiseg.reporting.slide_page import SlideReport, slide_page
from wsiseg.store.folders import RunFolder
from wsiseg.summary.outliers import compare
from wsiseg.summary.page import Summary
from wsiseg.summary.rows import SlideRow, read_rows

SLIDE_FILE = "report.html"
COHORT_FILE = "cohort.html"


def write_slide_report(run: Run, slide: str, folder: Path | None = None) -> Path:
    """Write ``slides/NAME/report.html`` of a finished slide; its path.

    Parameters
    ----------
    run
        The run.
    slide
        Name of the slide in it.
    folder
        Folder to write to in place of the run directory.

    Raises
    ------
    ConfigurationError
        If there is no such slide.
    StoreError
        If it is not finished, its table of cells was not written, or a file is damaged.
    """
    report = run.report(slide)
    here = RunFolder(run.path).slide(slide)
    row = _row(run, slide)
    fields, scored = read_fields(here), read_scored(run, slide)
    mapped = fault_map(fields) if fields is not None else None
    page = slide_page(
        SlideReport(
            date=_now(),
            version=__version__,
            row=row,
            report=report,
            finished=_told(here.report.stat().st_mtime),
            classes=class_shares(run, slide),
            distributions=distributions(run, slide),
            pictures=draw_pictures(run, slide, fields),
            fields=fields,
            fault_map=png(mapped, "Fields of tissue") if mapped is not None else None,
            scored=scored,
            stale=scored is not None and scored.segment_key != str(report.get("segment_key")),
        )
    )
    return _write((folder or run.path) / "slides" / slide / SLIDE_FILE, page)


def write_cohort(run: Run, folder: Path | None = None) -> Path:
    """Write ``cohort.html`` over all slides of a run; its path.

    Small files are read only: reports, scores and quality, no cells. Slides whose reports lie
    beside it are linked.

    Raises
    ------
    StoreError
        If a file is damaged.
    """
    root = folder or run.path
    rows = read_rows(RunFolder(run.path))
    summary = Summary(
        title=run.path.resolve().name,
        date=_now(),
        version=__version__,
        rows=rows,
        comparisons=compare(rows),
        overviews=frozenset(
            row.name
            for row in rows
            if (RunFolder(run.path).slide(row.name).root / FILES["overview"]).exists()
        ),
    )
    slides = tuple(_cohort_slide(run, row) for row in rows)
    reports = frozenset(
        row.name for row in rows if (root / "slides" / row.name / SLIDE_FILE).exists()
    )
    return _write(root / COHORT_FILE, cohort_page(Cohort(summary, slides, reports)))


def _cohort_slide(run: Run, row: SlideRow) -> CohortSlide:
    if row.state != "whole":
        return CohortSlide(None, None)
    return read_slide(run, row.name)


def _row(run: Run, slide: str) -> SlideRow:
    for row in read_rows(RunFolder(run.path)):
        if row.name == slide and row.state == "whole":
            return row
    raise StoreError(f"{slide} is not finished in {run.path}: run it again")


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with writing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def _now() -> str:
    return _told(datetime.now(UTC).timestamp())


def _told(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
