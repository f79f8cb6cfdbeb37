"""wsiseg: whole-slide nucleus and tissue segmentation."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wsiseg.execution.api import RunResult, run
    from wsiseg.execution.choice import Choice
    from wsiseg.execution.results import Run, open_run
    from wsiseg.job import Job, SlideEntry, read_job
    from wsiseg.slides.slide import Slide, open_slide
    from wsiseg.staging import Scratch

__version__ = "0.1.0"

__all__ = [
    "Choice",
    "Job",
    "Run",
    "RunResult",
    "Scratch",
    "Slide",
    "SlideEntry",
    "__version__",
    "open_run",
    "open_slide",
    "read_job",
    "run",
]

# Imported on first use, so that asking for help or the version loads nothing heavy.
_HOMES = {
    "Job": "wsiseg.job",
    "SlideEntry": "wsiseg.job",
    "read_job": "wsiseg.job",
    "Choice": "wsiseg.execution.choice",
    "Scratch": "wsiseg.staging",
    "RunResult": "wsiseg.execution.api",
    "run": "wsiseg.execution.api",
    "Run": "wsiseg.execution.results",
    "open_run": "wsiseg.execution.results",
    "Slide": "wsiseg.slides.slide",
    "open_slide": "wsiseg.slides.slide",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'wsiseg' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
