"""Which slides of a job a run takes up, and what each is called in the run directory."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path

from wsiseg.errors import ConfigurationError
from wsiseg.job import Job, SlideEntry
from wsiseg.store.folders import RunFolder


@dataclass(frozen=True, slots=True)
class Choice:
    """A part of a job's slides.

    Attributes
    ----------
    only
        Names or glob patterns; a slide counts if one of them fits its name in the run
        directory, its file's name or its path. Empty: all.
    limit
        At most that many, the first of the list; ``None``: all.
    retry_failed
        Only the slides that failed in the run directory.
    """

    only: tuple[str, ...] = ()
    limit: int | None = None
    retry_failed: bool = False

    def of(self, names: Mapping[str, SlideEntry], run: RunFolder) -> dict[str, SlideEntry]:
        """The slides that are chosen, by name; none where none has failed.

        Raises
        ------
        ConfigurationError
            If a pattern fits no slide, or ``limit`` is less than 1.
        """
        if self.limit is not None and self.limit < 1:
            raise ConfigurationError(f"limit: {self.limit} slides are none; give 1 or more")
        chosen = dict(names)
        if self.only:
            fitting = {
                pattern: {name for name, entry in names.items() if _fits(pattern, name, entry)}
                for pattern in self.only
            }
            unfit = [pattern for pattern, found in fitting.items() if not found]
            if unfit:
                raise ConfigurationError(
                    f"no slide is called {', '.join(unfit)}; there are {_some(list(names))}"
                )
            wanted = set().union(*fitting.values())
            chosen = {name: entry for name, entry in names.items() if name in wanted}
        if self.retry_failed:
            chosen = {n: e for n, e in chosen.items() if run.slide(n).failure.exists()}
        return dict(islice(chosen.items(), self.limit))


def slide_names(job: Job, known: Mapping[str, Path] | None = None) -> dict[str, SlideEntry]:
    """A folder name for every slide of a job.

    The name it has in the run directory already, by its path; else its file name, with a digest
    of its path where another slide has, or is to have, the same.

    Raises
    ------
    ConfigurationError
        If a slide is named twice.
    """
    named = {path: name for name, path in (known or {}).items()}
    taken = set(known or ())
    plain = [re.sub(r"[^\w.-]+", "_", entry.path.name) for entry in job.slides]
    wanted = Counter(plain)
    names: dict[str, SlideEntry] = {}
    seen: set[Path] = set()
    for name, entry in zip(plain, job.slides, strict=True):
        path = entry.place
        if path in seen:
            raise ConfigurationError(f"{entry.path} is named twice")
        seen.add(path)
        digest = hashlib.blake2b(str(path).encode(), digest_size=4).hexdigest()
        free = wanted[name] == 1 and name not in taken
        names[named.get(path, name if free else f"{name}-{digest}")] = entry
    return names


def _fits(pattern: str, name: str, entry: SlideEntry) -> bool:
    texts = (name, entry.path.name, str(entry.path))
    return pattern in texts or any(fnmatchcase(text, pattern) for text in texts)


def _some(names: list[str], most: int = 5) -> str:
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
