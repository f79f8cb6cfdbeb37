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
from wsiseg.cells.extent import label_boxes
from wsiseg.cells.vectorize import Traced, vectorize
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
    """

    grid: TileGrid
    reach: int
    scale: tuple[float, float]
    look: Look
    inside: Inside

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

    def trace(self, rules: Rules, only: NDArray[np.int64] | None = None) -> Traced:
        """Outlines of the instances (of ``only`` these, given as rising indices)."""
        labels, corner = self.instances.labels, (self.window.x0, self.window.y0)
        if only is not None:
            boxes = self.supports[only]
            cover = Box(
                int(boxes[:, 0].min()),
                int(boxes[:, 1].min()),
                int(boxes[:, 2].max()),
                int(boxes[:, 3].max()),
            ).intersection(self.window)
            keep = np.zeros(len(self.instances) + 1, np.int32)
            keep[only + 1] = only + 1
            labels, corner = keep[self.labels_in(cover)], (cover.x0, cover.y0)
        return vectorize(labels, len(self.instances), corner, rules.scale)


def segment_tile(tile: Tile, instances: Instances, rules: Rules) -> tuple[Candidates, Ledger]:
    """What the tile emits, given the instances of its window."""
    view = View.of(tile.window, instances)
    ledger = Ledger(seen=len(instances))
    parts = [_emit_whole(tile, view, rules, ledger)]
    parts += _emit_cut(tile, view, rules, ledger)
    emitted = Candidates.concatenate(parts)
    emitted = emitted.take(emitted.first_of_equals())
    ledger.emitted = len(emitted)
    return emitted, ledger


def _emit_whole(tile: Tile, view: View, rules: Rules, ledger: Ledger) -> Candidates:
    traced = view.trace(rules)
    ledger.dropped_fragments = traced.dropped_fragments
    ledger.dropped_px = traced.dropped_px
    whole = view.whole(rules.margin)[traced.index]
    found = _candidates(tile, view, traced, truncated=False)
    mine = whole & _emits(tile, found, view.supports[traced.index], rules)
    return _in_tissue(found.take(np.flatnonzero(mine)), rules, ledger)


def _emits(
    tile: Tile, found: Candidates, supports: NDArray[np.int64], rules: Rules
) -> NDArray[np.bool_]:
    """Which whole instances are this tile's to emit (module docstring)."""
    near = _anchor_box(tile.core.grown(GUEST_PX), found)
    owners = found.anchor_cells(rules.grid.core)
    low = owners * rules.grid.core - rules.grid.halo
    high = low + rules.grid.window
    shown = (supports[:, :2] - rules.margin >= low).all(axis=1)
    shown &= (supports[:, 2:] + rules.margin <= high).all(axis=1)
    return np.asarray(near | ~shown)


def _anchor_box(box: Box, found: Candidates) -> NDArray[np.bool_]:
    """Half-open test of exact anchors against a box."""
    x, y = 2 * found.sum_x + found.area_px, 2 * found.sum_y + found.area_px
    doubled = 2 * found.area_px
    return np.asarray(
        (x >= doubled * box.x0)
        & (x < doubled * box.x1)
        & (y >= doubled * box.y0)
        & (y < doubled * box.y1)
    )


def _emit_cut(tile: Tile, view: View, rules: Rules, ledger: Ledger) -> list[Candidates]:
    """What wider windows show of the instances that the tile's own window cuts."""
    present = np.unique(view.labels_in(tile.core))
    cut = ~view.whole(rules.margin)
    seeds = [int(label) for label in present if label > 0 and cut[label - 1]]
    ledger.incomplete = len(seeds)
    search = _Search(tile, rules, ledger)
    for label in seeds:
        search.follow(view, label)
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
                    support, here.window, rules.margin, rules.grid.stride, first=depth == 0
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
        only = np.array([label - 1], np.int64)
        traced = view.trace(self.rules, only)
        candidates = _candidates(self.tile, view, traced, truncated=False)
        mine = _emits(self.tile, candidates, view.supports[traced.index], self.rules)
        candidates = candidates.take(np.flatnonzero(mine))
        self.found.append(_in_tissue(candidates, self.rules, self.ledger))

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
        traced = vectorize(piece, label, (cell.x0, cell.y0), self.rules.scale)
        self.ledger.truncated += len(traced.index)
        self.ledger.dropped_fragments += traced.dropped_fragments
        self.ledger.dropped_px += traced.dropped_px
        candidates = _candidates(self.tile, view, traced, truncated=True)
        self.found.append(_in_tissue(candidates, self.rules, self.ledger))

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


def _candidates(tile: Tile, view: View, traced: Traced, *, truncated: bool) -> Candidates:
    count = len(traced.index)
    return Candidates(
        traced.polygons,
        traced.boxes,
        traced.area_px,
        traced.sum_x,
        traced.sum_y,
        view.instances.classes[traced.index],
        view.instances.probabilities[traced.index],
        np.full(count, truncated),
        np.tile(np.array([[tile.column, tile.row]], np.int32), (count, 1)),
    )


def _in_tissue(found: Candidates, rules: Rules, ledger: Ledger) -> Candidates:
    anchors = found.anchors()
    inside = rules.inside(anchors[:, 0], anchors[:, 1])
    ledger.outside_tissue += int((~inside).sum())
    return found.take(np.flatnonzero(inside))
