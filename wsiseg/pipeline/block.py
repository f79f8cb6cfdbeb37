"""One block: read, predict, decode, own, commit."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

from wsiseg.cells.candidates import Candidates
from wsiseg.errors import StoreError
from wsiseg.models.segmenter import Prediction
from wsiseg.pipeline.feed import Behind, prefetched
from wsiseg.pipeline.ledger import Ledger
from wsiseg.pipeline.session import Clock, Session, open_session, totals
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
    """The candidates of a block and its record.

    While the model works on some tiles, the next are read in one thread and the last are decoded
    and sorted out in another.
    """
    begin = time.perf_counter()
    # A clock a thread: each counts alone.
    reading, predicting, finishing = Clock(), Clock(), Clock()
    rules = session.rules(finishing)
    ledger, parts = Ledger(), []

    def read(tile: Tile) -> Pixels:
        begin = time.perf_counter()
        pixels = session.read(tile.window)
        reading.add("read", begin)
        return pixels

    def finish(tiles: Sequence[Tile], prediction: Prediction, shape: tuple[int, int]) -> None:
        for tile, instances in zip(
            tiles, session.decode(prediction, shape, finishing), strict=True
        ):
            begin = time.perf_counter()
            before = sum(finishing.seconds.values())
            candidates, counts = segment_tile(tile, instances, rules)
            # What wider windows took is charged to their own stages.
            finishing.add("own", begin + sum(finishing.seconds.values()) - before)
            ledger.add(counts)
            parts.append(candidates)

    pace = session.pacer.pace
    tiles_fitted = map(session.fitted, block.tiles)
    coming = prefetched(tiles_fitted, read, ahead=pace.ahead, threads=pace.readers)
    with Behind() as behind:
        while group := list(islice(coming, pace.batch)):
            windows = [pixels for _, pixels in group]
            prediction = session.predict(windows, predicting)
            tiles, shape = [tile for tile, _ in group], windows[0].shape[:2]
            behind.do(partial(finish, tiles, prediction, (shape[0], shape[1])))
    session.pacer.learn(reading.seconds.get("read", 0.0), predicting.seconds.get("predict", 0.0))
    found = Candidates.concatenate(parts)
    found = found.take(found.first_of_equals())
    record = BlockRecord(
        key=session.plan.block_key,
        name=block.name,
        count=len(found),
        extent=_extent(found),
        ledger=ledger.to_dict(),
        seconds=totals([reading.seconds, predicting.seconds, finishing.seconds]),
        # All that this process has met on the slide so far, re-reads included.
        damage=tuple(damage.plain() for damage in session.slide.damage),
        remarks=session.remarks(),
        span=time.perf_counter() - begin,
        pace=pace.plain(),
    )
    return found, record


def _extent(found: Candidates) -> tuple[int, int, int, int]:
    if not len(found):
        return 0, 0, 0, 0
    low, high = found.boxes[:, :2].min(axis=0), found.boxes[:, 2:].max(axis=0)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])
