"""Cells with the classes that a classifier gives them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from wsiseg.cells.batch import CellBatch, CellClass, CellsInfo, CellSource
from wsiseg.classify.forest import Forest
from wsiseg.errors import ConfigurationError
from wsiseg.geometry import Box

PROBABILITY = "class_probability"
"""Column: the share of the trees that are for the class given."""


class ClassifiedCells:
    """The cells of another source under a classifier's classes; a
    :class:`wsiseg.cells.batch.CellSource`.

    Nothing is stored: every part is classified when it is read.

    Parameters
    ----------
    inner
        Cells with all the features that the classifier looks at.
    forest
        The classifier.
    digest
        sha256 of its file, for the provenance.
    columns
        Chooses the features wanted among the names of all; ``None``: all.
    """

    def __init__(
        self,
        inner: CellSource,
        forest: Forest,
        digest: str,
        columns: Callable[[Sequence[str]], Sequence[str]] | None = None,
    ) -> None:
        self._inner, self._forest, self._digest = inner, forest, digest
        self._columns = columns

    @property
    def info(self) -> CellsInfo:
        """With the classifier's classes; its provenance tells of it."""
        info, forest = self._inner.info, self._forest
        classes = tuple(map(CellClass, forest.classes, forest.colors))
        told = {"sha256": self._digest, **forest.about}
        return replace(info, classes=classes, provenance={**info.provenance, "classifier": told})

    @property
    def count(self) -> int:
        """Number of cells."""
        return self._inner.count

    @property
    def extents(self) -> tuple[Box, ...]:
        """Frame box over the polygons of every part."""
        return self._inner.extents

    def read(self, part: int) -> CellBatch:
        """The cells of one part.

        Raises
        ------
        ConfigurationError
            If a feature that the classifier looks at was not measured.
        """
        batch = self._inner.read(part)
        missing = [name for name in self._forest.features if name not in batch.features]
        if missing:
            raise ConfigurationError(
                f"the classifier looks at {', '.join(missing)}, which {self._inner.info.slide} "
                "has not; measure with the features it was trained on (wsiseg measure OUT "
                "--features ...)"
            )
        columns = [batch.features[name] for name in self._forest.features]
        shares = self._forest.probabilities(np.stack(columns, axis=1))
        found = shares.argmax(axis=1)
        likely = shares[np.arange(len(batch)), found]
        names = list(batch.features)
        kept = names if self._columns is None else self._columns(names)
        features = {name: batch.features[name] for name in kept}
        return replace(
            batch,
            class_index=found.astype(np.uint8),
            features={**features, PROBABILITY: likely},
        )
