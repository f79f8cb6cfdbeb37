"""Blocks on the disk: verified when they are read, kept within bounds, deleted when damaged."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest

from seams import crowd, segment
from wsiseg.errors import StoreError
from wsiseg.store import blocks
from wsiseg.store.blocks import BlockStore, committed_blocks, stated_blocks
from wsiseg.store.folders import SlideFolder
from wsiseg.testing.segmenters import PaintedSegmenter, mock_spec

KEY = "key"


@pytest.fixture
def folder(tmp_path: Path) -> SlideFolder:
    painted = PaintedSegmenter(mock_spec("painted", reach_px=8, halo=16))
    segment(crowd((200, 300), 90, seed=3), painted, tmp_path, core=100, tiles_per_block=1)
    return SlideFolder(tmp_path)


def spoil(path: Path) -> None:
    """Turn some bytes of the last column over; what the file says of itself stays."""
    data = bytearray(path.read_bytes())
    data[-16:] = bytes(255 - value for value in data[-16:])
    path.write_bytes(data)


def test_what_blocks_state_is_what_they_are_verified_to_be(folder: SlideFolder) -> None:
    stated = stated_blocks(folder, KEY)
    assert len(stated) == 6
    assert stated == committed_blocks(folder, KEY)
    assert stated_blocks(folder, "another") == {} == committed_blocks(folder, "another")


def test_damage_is_found_by_whoever_reads_the_columns(folder: SlideFolder) -> None:
    name = sorted(stated_blocks(folder, KEY))[2]
    spoil(folder.block(name))
    records = stated_blocks(folder, KEY)
    assert name in records
    store = BlockStore(folder, records)
    assert len(store.read(1)) == records[sorted(records)[1]].count
    with pytest.raises(StoreError, match=rf"lacks {name}.*run the same command again"):
        store.read(2)
    assert not folder.block(name).exists()
    assert sorted({*records} - {*committed_blocks(folder, KEY)}) == [name]


def test_resuming_finds_damage_of_either_kind(folder: SlideFolder) -> None:
    first, second, *rest = sorted(stated_blocks(folder, KEY))
    spoil(folder.block(first))
    whole = folder.block(second).read_bytes()
    folder.block(second).write_bytes(whole[: len(whole) // 2])
    assert sorted(committed_blocks(folder, KEY)) == rest
    assert not folder.block(first).exists()
    assert not folder.block(second).exists()


def test_storage_that_is_away_deletes_nothing(
    folder: SlideFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(path: Path) -> None:
        raise StoreError(f"{path} is damaged") from OSError(errno.ESTALE, "Stale file handle")

    records = stated_blocks(folder, KEY)
    monkeypatch.setattr(blocks, "open_columns", away)
    with pytest.raises(StoreError, match="is damaged"):
        BlockStore(folder, records).read(0)
    with pytest.raises(StoreError, match="is damaged"):
        stated_blocks(folder, KEY)
    assert all(folder.block(name).exists() for name in records)


@pytest.mark.parametrize("room", [0, 1, 6])
def test_a_store_keeps_what_was_read_last(
    folder: SlideFolder, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    read = []

    def counted(path: Path) -> object:
        read.append(path.stem)
        return real(path)

    real = blocks.read_block
    store = BlockStore(folder, stated_blocks(folder, KEY))
    sizes = [blocks._size(store.read(block)) for block in range(len(store))]
    monkeypatch.setattr(blocks, "read_block", counted)
    monkeypatch.setattr(blocks, "_KEPT_BYTES", room * max(sizes))
    store = BlockStore(folder, stated_blocks(folder, KEY))
    for _ in range(2):
        for block in range(len(store)):
            found = store.read(block)
            assert store.read(block).area_px.tolist() == found.area_px.tolist()
            assert len(found) == np.diff(store.offsets)[block]
    assert len(read) == {0: 24, 1: 12, 6: 6}[room]
