"""One tile: which of the instances in its window it emits, and what it reads again.

Ownership
---------
A tile emits an instance that its window shows *whole* (the support grown by the model's reach
lies in the window) if the anchor lies in the core grown by ``GUEST_PX``, or if the window of
the tile that owns the anchor cannot show it whole. An instance that the window cuts and that
has a pixel in the core is looked for in wider windows until it is whole; one larger than
``windows.LIMIT`` is cut on the global lattice of that step. So whatever the size of the tiles,
every instance is emitted by at least one tile, always as the same polygon where the model is
of the exact class; identical and nearly identical copies are settled later, in ``stitch``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsiseg.cells.candidates import Candidates
from wsiseg.cells.components import Parts, largest_parts
from wsiseg.cells.extent import label_boxes, shown_in
from wsiseg.cells.vectorize import trace
from wsiseg.geometry import Box
from wsiseg.models.segmenter import Instances
from wsiseg.pipeline.ledger import Ledger
from wsiseg.pipeline.windows import LIMIT, fits, lattice_window, too_large, wider_window
from wsiseg.tiling import Tile, TileGrid

GUEST_PX = 32
"""How far beyond its core a tile still emits anchors: more than an anchor can wander between
two windows, so that no instance falls between two tiles."""

MAX_REREADS = 16
"""Bound on the windows read for one instance; the size limit ends the search long before."""

Look = Callable[[Box], Instances]
"""Segment any window of the frame: what the model sees there."""

Inside = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.bool_]]
"""Whether points ``x, y`` in frame pixels count as tissue."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What a tile needs to know to decide.

    Attributes
    ----------
    grid
        The lattice of tiles.
    reach
        The model's reach in frame pixels.
    scale
        Level-0 pixels per frame pixel along x and y.
    look
        Segments another window.
    inside
        Tells tissue.
    support_px
        Longest side that a support can have; 0 where nothing bounds it.
    """

    grid: TileGrid
    reach: int
    scale: tuple[float, float]
    look: Look
    inside: Inside
    support_px: int = 0

    @property
    def margin(self) -> int:
        """Pixels that must lie between an instance's support and the window's edge: even where
        the model needs none, one shows that the instance ends there."""
        return max(self.reach, 1)


@dataclass(frozen=True, slots=True)
class View:
    """A segmented window: its instances in the frame's coordinates."""

    window: Box
    instances: Instances
    supports: NDArray[np.int64]

    @classmethod
    def of(cls, window: Box, instances: Instances) -> View:
        """Move the supports of ``instances`` from the window to the frame."""
        if instances.supports is None:
            local = label_boxes(instances.labels, len(instances))
        else:
            local = instances.supports.astype(np.int64)
        corner = np.array([window.x0, window.y0, window.x0, window.y0], np.int64)
        return cls(window, instances, local + corner)

    def whole(self, margin: int) -> NDArray[np.bool_]:
        """bool ``[n]``: which instances the window's edge cannot have touched."""
        s, w = self.supports, self.window
        return np.asarray(
            (s[:, 0] - margin >= w.x0)
            & (s[:, 1] - margin >= w.y0)
            & (s[:, 2] + margin <= w.x1)
            & (s[:, 3] + margin <= w.y1)
        )

    def support(self, index: int) -> Box:
        """The support of one instance."""
        return Box(*(int(v) for v in self.supports[index]))

    def labels_in(self, box: Box) -> NDArray[np.int32]:
        """The labels under the part of ``box`` that the window shows."""
        return self.instances.labels[box.intersection(self.window).slices(self.window)]

    def meets(self, which: NDArray[np.int64], box: Box) -> NDArray[np.bool_]:
        """bool ``[n]``: which of the instances ``which`` have a pixel in a box of the window."""
        low = np.maximum(self.supports[which, :2], (box.x0, box.y0))
        high = np.minimum(self.supports[which, 2:], (box.x1, box.y1))
        corner = self.window.x0, self.window.y0
        boxes = np.concatenate([low - corner, high - corner], axis=1)
        return np.asarray(shown_in(self.instances.labels, which + 1, boxes))

    def parts(self, only: int | None = None) -> Parts:
        """The parts of the instances (of one of them alone)."""
        labels, corner = self.instances.labels, (self.window.x0, self.window.y0)
        if only is not None:
            cover = self.support(only).intersection(self.window)
            seen = self.labels_in(cover)
            labels = np.where(seen == only + 1, seen, np.int32(0))
            corner = cover.x0, cover.y0
        return largest_parts(labels, len(self.instances), corner)


def segment_tile(tile: Tile, instances: Instances, rules: Rules) -> tuple[Candidates, Ledger]:
    """What the tile emits, given the instances of its window."""
    view = View.of(tile.window, instances)
    ledger = Ledger(seen=len(instances))
    emitted = _emit_whole(tile, view, rules, ledger)
    wider = _emit_cut(tile, view, rules, ledger)
    if wider:
        emitted = Candidates.concatenate([emitted, *wider])
        emitted = emitted.take(emitted.first_of_equals())
    ledger.emitted = len(emitted)
    return emitted, ledger


def _emit_whole(tile: Tile, view: View, rules: Rules, ledger: Ledger) -> Candidates:
    parts = view.parts()
    ledger.dropped_fragments = parts.dropped_fragments
    ledger.dropped_px = parts.dropped_px
    whole = view.whole(rules.margin)[parts.index]
    mine = whole & _emits(tile, parts, view.supports[parts.index], rules)
    return _emit(tile, view, parts, mine, rules, ledger)


def _emits(
    tile: Tile, parts: Parts, supports: NDArray[np.int64], rules: Rules
) -> NDArray[np.bool_]:
    """Which whole instances are this tile's to emit (module docstring)."""
    near = parts.anchors_in(tile.core.grown(GUEST_PX))
    owners = parts.anchor_cells(rules.grid.core)
    low = owners * rules.grid.core - rules.grid.halo
    high = low + rules.grid.window
    shown = (supports[:, :2] - rules.margin >= low).all(axis=1)
    shown &= (supports[:, 2:] + rules.margin <= high).all(axis=1)
    return np.asarray(near | ~shown)


def _emit(
    tile: Tile,
    view: View,
    parts: Parts,
    mine: NDArray[np.bool_],
    rules: Rules,
    ledger: Ledger,
    *,
    truncated: bool = False,
) -> Candidates:
    """Of the parts that are ``mine`` those in tissue. Only they are traced."""
    anchors = parts.anchors()
    inside = rules.inside(anchors[:, 0], anchors[:, 1])
    ledger.outside_tissue += int((mine & ~inside).sum())
    chosen = np.flatnonzero(mine & inside)
    instances = parts.index[chosen]
    return Candidates(
        trace(parts, chosen, rules.scale),
        parts.boxes[chosen],
        parts.area_px[chosen],
        parts.sum_x[chosen],
        parts.sum_y[chosen],
        view.instances.classes[instances],
        view.instances.probabilities[instances],
        np.full(len(chosen), truncated),
        np.tile(np.array([[tile.column, tile.row]], np.int32), (len(chosen), 1)),
    )


def _emit_cut(tile: Tile, view: View, rules: Rules, ledger: Ledger) -> list[Candidates]:
    """What wider windows show of the instances that the tile's own window cuts."""
    cut = np.flatnonzero(~view.whole(rules.margin))
    seeds = cut[view.meets(cut, tile.core)]
    ledger.incomplete = len(seeds)
    search = _Search(tile, rules, ledger)
    for index in seeds:
        search.follow(view, int(index) + 1)
    return search.found


class _Search:
    """Follows instances that a window cuts into wider windows."""

    def __init__(self, tile: Tile, rules: Rules, ledger: Ledger) -> None:
        self.tile = tile
        self.rules = rules
        self.ledger = ledger
        self.found: list[Candidates] = []
        self._views: dict[Box, View] = {}
        self._done: set[tuple[Box, int]] = set()

    def follow(self, view: View, label: int) -> None:
        """Look for the instance ``label`` of ``view`` in wider windows, and emit it."""
        pixels = view.labels_in(self.tile.core) == label
        pending = [(view, label, 0)]
        while pending:
            here, current, depth = pending.pop()
            if depth >= MAX_REREADS or self._too_large(here, current):
                self._cut(pixels)
                return
            rules, support = self.rules, here.support(current - 1)
            wider = self._look(
                wider_window(
                    support,
                    here.window,
                    rules.margin,
                    rules.grid.stride,
                    first=depth == 0,
                    support_px=rules.support_px,
                )
            )
            successors = self._at(wider, self.tile.core, pixels)
            if depth == 0 and not len(successors):
                self.ledger.vanished += 1
            whole = wider.whole(rules.margin)
            for successor in successors:
                if (wider.window, int(successor)) in self._done:
                    continue
                self._done.add((wider.window, int(successor)))
                if whole[successor - 1] and not self._too_large(wider, int(successor)):
                    self._emit(wider, int(successor))
                else:
                    pending.append((wider, int(successor), depth + 1))

    def _too_large(self, view: View, label: int) -> bool:
        return too_large(view.support(label - 1), self.rules.margin, self.rules.grid.stride)

    def _emit(self, view: View, label: int) -> None:
        self.ledger.reread_whole += 1
        parts = view.parts(label - 1)
        mine = _emits(self.tile, parts, view.supports[parts.index], self.rules)
        self.found.append(_emit(self.tile, view, parts, mine, self.rules, self.ledger))

    def _cut(self, pixels: NDArray[np.bool_]) -> None:
        """Emit the pieces of an instance that no window holds, cut on the global lattice."""
        rules, core = self.rules, self.tile.core
        for part in core.split(LIMIT):
            if not pixels[part.slices(core)].any():
                continue
            cell = Box(
                part.x0 // LIMIT * LIMIT,
                part.y0 // LIMIT * LIMIT,
                part.x0 // LIMIT * LIMIT + LIMIT,
                part.y0 // LIMIT * LIMIT + LIMIT,
            )
            view = self._look(lattice_window(cell, rules.margin, rules.grid.stride))
            for label in self._at(view, part, pixels[part.slices(core)]):
                if (view.window, int(label)) in self._done:
                    continue
                self._done.add((view.window, int(label)))
                support = view.support(int(label) - 1)
                if fits(support, view.window, rules.margin) and not self._too_large(
                    view, int(label)
                ):
                    self._emit(view, int(label))
                else:
                    self._emit_piece(view, int(label), cell)

    def _emit_piece(self, view: View, label: int, cell: Box) -> None:
        labels = view.labels_in(cell)
        piece = np.where(labels == label, np.int32(label), np.int32(0))
        parts = largest_parts(piece, label, (cell.x0, cell.y0))
        self.ledger.truncated += len(parts.index)
        self.ledger.dropped_fragments += parts.dropped_fragments
        self.ledger.dropped_px += parts.dropped_px
        mine = np.ones(len(parts.index), bool)
        self.found.append(
            _emit(self.tile, view, parts, mine, self.rules, self.ledger, truncated=True)
        )

    def _look(self, window: Box) -> View:
        if window not in self._views:
            self.ledger.rereads += 1
            # One at a time: the largest windows are what the memory plan counts with.
            self._views = {window: View.of(window, self.rules.look(window))}
        return self._views[window]

    @staticmethod
    def _at(view: View, box: Box, pixels: NDArray[np.bool_]) -> NDArray[np.int32]:
        """Labels that ``view`` shows under ``pixels`` of ``box``."""
        visible = box.intersection(view.window)
        mask = pixels[visible.slices(box)]
        labels = np.unique(view.labels_in(box)[mask])
        return np.asarray(labels[labels > 0], np.int32)
