"""One block: read, predict, decode, own, commit."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import islice

from wsiseg.cells.candidates import Candidates
from wsiseg.errors import StoreError
from wsiseg.pipeline.feed import prefetched
from wsiseg.pipeline.ledger import Ledger
from wsiseg.pipeline.session import Clock, Session, open_session
from wsiseg.pipeline.tile import segment_tile
from wsiseg.slides.reader import Pixels
from wsiseg.store.blocks import BlockRecord, committed_block, write_block
from wsiseg.store.folders import RunFolder
from wsiseg.store.lock import lock_epoch
from wsiseg.tiling import Block, Tile


@dataclass(frozen=True, slots=True)
class BlockTask:
    """A block to be done: small enough to be sent anywhere."""

    run: str
    slide: str
    key: str
    column: int
    row: int
    epoch: str


def run_block(run: RunFolder, task: BlockTask) -> BlockRecord:
    """Segment one block and commit it.

    Raises
    ------
    StoreError
        If the driver that asked for it is no longer the one at work.
    OSError
        If the slide could be read only in part, for reasons that have passed.
    """
    folder = run.slide(task.slide)
    session = open_session(folder, task.key)
    block = session.blocks[task.column, task.row]
    # The task may come a second time: its first worker died after the commit, before the answer.
    known = committed_block(folder.block(block.name), task.key)
    if known is not None:
        return known
    found, record = segment_block(session, block)
    session.require_lasting_damage()
    if lock_epoch(run) != task.epoch:
        raise StoreError(f"{run.root} is no longer held by the run that asked for this block")
    write_block(folder.block(block.name), found, record)
    return record


def segment_block(session: Session, block: Block) -> tuple[Candidates, BlockRecord]:
    """The candidates of a block and its record."""
    clock, reading = Clock(), Clock()
    rules = session.rules(clock)
    ledger, parts = Ledger(), []

    def read(tile: Tile) -> Pixels:
        begin = time.perf_counter()
        pixels = session.read(tile.window)
        reading.add("read", begin)
        return pixels

    batch = session.segmenter.spec.batch
    coming = prefetched(block.tiles, read, ahead=batch)
    while group := list(islice(coming, batch)):
        found_in = session.segment([pixels for _, pixels in group], clock)
        for (tile, _), instances in zip(group, found_in, strict=True):
            begin = time.perf_counter()
            before = sum(clock.seconds.values())
            candidates, counts = segment_tile(tile, instances, rules)
            # What wider windows took is charged to their own stages.
            clock.add("own", begin + sum(clock.seconds.values()) - before)
            ledger.add(counts)
            parts.append(candidates)
    found = Candidates.concatenate(parts)
    found = found.take(found.first_of_equals())
    clock.seconds["read"] = clock.seconds.get("read", 0.0) + reading.seconds.get("read", 0.0)
    record = BlockRecord(
        key=session.plan.block_key,
        name=block.name,
        count=len(found),
        extent=_extent(found),
        ledger=ledger.to_dict(),
        seconds=clock.seconds,
        # All that this process has met on the slide so far, re-reads included.
        damage=tuple(damage.plain() for damage in session.slide.damage),
        remarks=session.remarks(),
    )
    return found, record


def _extent(found: Candidates) -> tuple[int, int, int, int]:
    if not len(found):
        return 0, 0, 0, 0
    low, high = found.boxes[:, :2].min(axis=0), found.boxes[:, 2:].max(axis=0)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])
