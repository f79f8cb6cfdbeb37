"""``summary.csv``, ``summary.json`` and ``summary.html``, from the files of a run directory."""

from __future__ import annotations

import base64
import csv
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from wsiseg import __version__
from wsiseg.files import write_json, writing
from wsiseg.pipeline.exports import FILES
from wsiseg.store.folders import RunFolder
from wsiseg.summary.measured import thumbnail
from wsiseg.summary.outliers import RULE, Comparison, compare
from wsiseg.summary.page import Summary, page, sentence
from wsiseg.summary.rows import SlideRow, read_rows

FORMAT = 1

MOST_PICTURE_BYTES = 7_000_000
"""All thumbnails of the page together, as embedded; slides beyond that are shown without."""

_COLUMNS = (
    "state",
    "reason",
    "group",
    "stain",
    "nuclei",
    "tissue_mm2",
    "nuclei_per_mm2",
    "nuclear_area_um2",
    "sharpness",
    "haematoxylin_od",
    "counterstain_od",
    "signal",
    "damaged_places",
    "rereads",
    "settled",
    "truncated",
    "seconds",
    "busy_seconds",
    "mm2_per_second",
    "model",
    "mpp",
    "mpp_source",
)


def write_summary(run: RunFolder) -> Path:
    """Write the summary of a run directory anew; the path of its page.

    Everything is read from the directory's small files, so it can be done at any time, also
    while a run goes on or after it has died.

    Raises
    ------
    StoreError
        If the folder is not a run directory, or a file cannot be written.
    """
    rows = read_rows(run)
    summary = Summary(
        title=run.root.resolve().name,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        version=__version__,
        rows=rows,
        comparisons=compare(rows),
        overviews=frozenset(
            row.name for row in rows if (run.slide(row.name).root / FILES["overview"]).exists()
        ),
    )
    write_json(run.summary("json"), summary_json(summary))
    with (
        writing(run.summary("csv")) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        csv.writer(file, lineterminator="\n").writerows(summary_rows(summary))
    text = page(summary, _pictures(run, summary))
    with writing(run.summary("html")) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return run.summary("html")


def summary_json(summary: Summary) -> dict[str, Any]:
    """Every number, and the rules behind what is said to stand out."""
    states = [row.state for row in summary.rows]
    return {
        "format": FORMAT,
        "date": summary.date,
        "wsiseg": summary.version,
        "slides_by_state": {state: states.count(state) for state in sorted(set(states))},
        "nuclei": sum(row.nuclei or 0 for row in summary.rows),
        "tissue_mm2": round(sum(row.tissue_mm2 or 0 for row in summary.rows), 6),
        "rule": RULE,
        "measures": {one.measure.key: asdict(one.measure) for one in summary.comparisons},
        "slides": [
            {
                **asdict(row),
                "stands_out": [_oddity(one, i) for one in summary.oddities(i)],
            }
            for i, row in enumerate(summary.rows)
        ],
    }


def summary_rows(summary: Summary) -> Iterable[list[str]]:
    """The table: a line of names, then a line a slide. Empty where not known."""
    own = ("slide", *_COLUMNS, "stands_out", "warnings", "path")
    scores = [f"z_{one.measure.key}" for one in summary.comparisons]
    metadata = list(dict.fromkeys(name for row in summary.rows for name in row.metadata))
    taken = {*own, *scores}
    yield [*own, *scores, *(f"metadata_{n}" if n in taken else n for n in metadata)]
    for i, row in enumerate(summary.rows):
        yield [
            row.name,
            *(_cell(getattr(row, name)) for name in _COLUMNS),
            " | ".join(sentence(one, i) for one in summary.oddities(i)),
            " | ".join(row.warnings),
            row.path,
            *("" if one.z[i] != one.z[i] else f"{one.z[i]:.3f}" for one in summary.comparisons),
            *(row.metadata.get(name, "") for name in metadata),
        ]


def _oddity(found: Comparison, slide: int) -> dict[str, Any]:
    return {
        "measure": found.measure.key,
        "value": float(found.values[slide]),
        "typical": float(found.typical[slide]),
        "z": round(float(found.z[slide]), 3),
        "verdict": found.verdict(slide),
    }


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.9g}" if isinstance(value, float) else str(value)


def _pictures(run: RunFolder, summary: Summary) -> Mapping[str, str]:
    """Thumbnails as data URIs, first of the slides that stand out, while there is room."""
    order = sorted(range(len(summary.rows)), key=lambda i: -len(summary.oddities(i)))
    found: dict[str, str] = {}
    room = MOST_PICTURE_BYTES
    for i in order:
        row: SlideRow = summary.rows[i]
        small = thumbnail(run.slide(row.name)) if row.name in summary.overviews else None
        if small is None:
            continue
        uri = f"data:image/jpeg;base64,{base64.b64encode(small.read_bytes()).decode()}"
        # A slide that stands out is shown twice.
        room -= len(uri) * (2 if summary.oddities(i) else 1)
        if room < 0:
            break
        found[row.name] = uri
    return found
