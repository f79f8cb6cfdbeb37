"""``report.html`` of a slide and ``cohort.html`` of a run: what was found, to be read and printed.

``wsiseg.summary`` tells how a batch went; here stands what the slides show.
"""

from __future__ import annotations

from wsiseg.reporting.write import write_cohort, write_slide_report

__all__ = ["write_cohort", "write_slide_report"]
