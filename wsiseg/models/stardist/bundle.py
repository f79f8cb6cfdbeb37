"""Weights in a TensorFlow SavedModel: its variables, read without TensorFlow.

``variables/variables.index`` is a table in LevelDB's format (``doc/table_format.md`` of
LevelDB): sorted keys in blocks, here the variables' names, each with a protocol buffer
(``tensorflow/core/protobuf/tensor_bundle.proto``) that tells dtype, shape, place and checksum of
its bytes in ``variables.data-*``. TensorFlow 1 uses the names of variables as keys; TensorFlow 2
numbers them and keeps their names in one more entry, a ``TrackableObjectGraph``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wsiseg.errors import ModelError
from wsiseg.models.stardist.sources import MAX_TEXT_BYTES, Files

INDEX = "variables/variables.index"
DATA = "variables/variables.data-{shard:05d}-of-{shards:05d}"

_MAGIC = 0xDB4775248B80FB57
_FOOTER, _TRAILER = 48, 5
_MAX_ENTRIES = 100_000
_MAX_VALUES = 1 << 28
_FLOATS: dict[int, np.dtype[Any]] = {
    1: np.dtype("<f4"),
    2: np.dtype("<f8"),
    19: np.dtype("<f2"),
}
_STRING = 7
_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_PARTS = ("kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance")
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True, slots=True)
class _Entry:
    """Where a variable lies."""

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    checksum: int


def read_bundle(files: Files) -> dict[str, dict[str, NDArray[np.float32]]]:
    """The tensors of a SavedModel by layer and part, e.g. ``["prob"]["kernel"]``.

    Raises
    ------
    ModelError
        If the files are damaged or not such as TensorFlow writes.
    """
    index = files.read(INDEX, MAX_TEXT_BYTES)
    try:
        return _Bundle(files, index).tensors()
    except (IndexError, ValueError, OverflowError, UnicodeDecodeError) as error:
        raise ModelError(f"{files.origin}/{INDEX} is damaged: {error}") from error


class _Bundle:
    def __init__(self, files: Files, index: bytes) -> None:
        self._files = files
        self._shards = 1
        self._entries: dict[str, _Entry] = {}
        self._data: dict[int, bytes] = {}
        for key, value in _table(index):
            if key:
                self._entries[key.decode()] = _entry(value)
            else:
                self._read_header(value)

    def tensors(self) -> dict[str, dict[str, NDArray[np.float32]]]:
        found: dict[str, dict[str, NDArray[np.float32]]] = {}
        for name, key in self._names().items():
            layer, _, part = name.rpartition("/")
            entry = self._entries.get(key)
            if layer and "/" not in layer and part in _PARTS and entry is not None:
                found.setdefault(layer, {})[part] = self._tensor(entry, name)
        return found

    def _names(self) -> dict[str, str]:
        """The key of every variable by its name."""
        graph = self._entries.get(_OBJECT_GRAPH)
        if graph is None:
            return {key: key for key in self._entries}
        return dict(_named_variables(_string(self._bytes(graph, _OBJECT_GRAPH))))

    def _read_header(self, value: bytes) -> None:
        header = dict(_fields(value))
        self._shards = _number(header.get(1, 1))
        if _number(header.get(2, 0)) != 0 or not 1 <= self._shards <= 1000:
            raise ModelError(f"{self._files.origin}: big-endian or odd variables are not supported")

    def _bytes(self, entry: _Entry, name: str) -> bytes:
        if entry.shard not in self._data:
            file = DATA.format(shard=entry.shard, shards=self._shards)
            self._data[entry.shard] = self._files.read(file)
        found = self._data[entry.shard][entry.offset : entry.offset + entry.size]
        whole = len(found) == entry.size
        # The checksum of text is one over its parts; text is checked by being parsed.
        if not whole or (entry.dtype != _STRING and _masked_checksum(found) != entry.checksum):
            raise ModelError(f"{self._files.origin}: the variable {name} is damaged")
        return found

    def _tensor(self, entry: _Entry, name: str) -> NDArray[np.float32]:
        dtype = _FLOATS.get(entry.dtype)
        count = int(np.prod(entry.shape, dtype=np.float64))
        if dtype is None or len(entry.shape) > 4 or count > _MAX_VALUES:
            raise ModelError(f"{self._files.origin}: the variable {name} is no tensor of floats")
        if entry.size != count * dtype.itemsize:
            raise ModelError(f"{self._files.origin}: the variable {name} is damaged")
        values = np.frombuffer(self._bytes(entry, name), dtype)
        return np.asarray(values.reshape(entry.shape), np.float32)


def _table(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a table, in order."""
    if len(content) < _FOOTER or int.from_bytes(content[-8:], "little") != _MAGIC:
        raise ValueError("it is no table of variables")
    footer = content[-_FOOTER:]
    _, place = _handle(footer, 0)
    index, _ = _handle(footer, place)
    count = 0
    for _, value in _block(content, *index):
        handle, _ = _handle(value, 0)
        for entry in _block(content, *handle):
            count += 1
            if count > _MAX_ENTRIES:
                raise ValueError("it has too many entries")
            yield entry


def _handle(content: bytes, place: int) -> tuple[tuple[int, int], int]:
    offset, place = _varint(content, place)
    size, place = _varint(content, place)
    return (offset, size), place


def _block(content: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    block = content[offset : offset + size]
    if offset + size + _TRAILER > len(content) or size < 4:
        raise ValueError("it is cut short")
    if content[offset + size] != 0:
        raise ValueError("its blocks are compressed, which TensorFlow does not do")
    restarts = int.from_bytes(block[-4:], "little")
    end = size - 4 - 4 * restarts
    place, key = 0, b""
    while place < end:
        shared, place = _varint(block, place)
        own, place = _varint(block, place)
        length, place = _varint(block, place)
        if shared > len(key) or place + own + length > end:
            raise ValueError("an entry is cut short")
        key = key[:shared] + block[place : place + own]
        yield key, block[place + own : place + own + length]
        place += own + length


def _varint(content: bytes, place: int) -> tuple[int, int]:
    value, shift = 0, 0
    while shift < 64:
        byte = content[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place
    raise ValueError("a number has no end")


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Numbers and values of a protocol buffer's fields, in order."""
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        kind = tag & 7
        if kind == _VARINT:
            number, place = _varint(message, place)
            yield tag >> 3, number
            continue
        if kind == _LENGTH:
            size, place = _varint(message, place)
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
        else:
            raise ValueError("a message is damaged")
        value = message[place : place + size]
        if len(value) != size:
            raise ValueError("a message is cut short")
        place += size
        yield tag >> 3, value if kind == _LENGTH else int.from_bytes(value, "little")


def _number(value: int | bytes) -> int:
    if isinstance(value, bytes):
        raise ValueError("a number was expected")
    return value


def _text(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("a message was expected")
    return value


def _entry(message: bytes) -> _Entry:
    numbers = {1: 0, 3: 0, 4: 0, 5: 0, 6: 0}
    shape: list[int] = []
    for field, value in _fields(message):
        if field == 2:
            for inner, dimension in _fields(_text(value)):
                if inner == 2:
                    shape.append(_number(dict(_fields(_text(dimension))).get(1, 0)))
        elif field == 7:
            raise ModelError("variables saved in slices are not supported: save the model again")
        elif field in numbers:
            numbers[field] = _number(value)
    return _Entry(numbers[1], tuple(shape), numbers[3], numbers[4], numbers[5], numbers[6])


def _string(content: bytes) -> bytes:
    """The only element of a tensor of strings: its length, a checksum of that, its bytes."""
    length, place = _varint(content, 0)
    found = content[place + 4 :]
    if len(found) != length:
        raise ValueError("the names of the variables are cut short")
    return found


def _named_variables(graph: bytes) -> Iterator[tuple[str, str]]:
    """Names and keys of the variables in a ``TrackableObjectGraph``."""
    for field, node in _fields(graph):
        if field != 1:
            continue
        for inner, attribute in _fields(_text(node)):
            if inner != 2:
                continue
            parts = dict(_fields(_text(attribute)))
            if 2 in parts and 3 in parts:
                yield _text(parts[2]).decode(), _text(parts[3]).decode()


def _masked_checksum(content: bytes) -> int:
    """CRC-32C as LevelDB stores it."""
    checksum = int(_crc32c(np.frombuffer(content, np.uint8), _CRC_TABLE))
    turned = ((checksum >> 15) | (checksum << 17)) & 0xFFFFFFFF
    return (turned + 0xA282EAD8) & 0xFFFFFFFF


def _crc_table() -> NDArray[np.uint32]:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(0x82F63B78), table >> 1)
    return table.astype(np.uint32)


_CRC_TABLE = _crc_table()


@njit(cache=True, nogil=True)
def _crc32c(content: NDArray[np.uint8], table: NDArray[np.uint32]) -> np.uint32:
    """CRC-32C (Castagnoli), a byte at a time; RFC 3720, appendix B.4."""
    value = np.uint32(0xFFFFFFFF)
    for byte in content:
        value = table[(value ^ byte) & np.uint32(0xFF)] ^ (value >> np.uint32(8))
    return value ^ np.uint32(0xFFFFFFFF)
