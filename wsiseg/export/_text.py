"""Text and well-known binary written from arrays, without a Python object a nucleus."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wsiseg.cells.polygons import Polygons
from wsiseg.geometry import HUNDREDTHS

_HEX = np.frombuffer(b"0123456789abcdef", np.uint8)
_POWERS = np.array([float(10**k) for k in range(23)])
"""The powers of ten that float64 holds exactly."""

_HEAD = np.frombuffer(b'{"type":"Feature","id":"', np.uint8)
_OUTLINE = np.frombuffer(b'","geometry":{"type":"Polygon","coordinates":[', np.uint8)
_TAIL = np.frombuffer(b"}}}", np.uint8)

_NUMBER_ROOM = 20
_VERTEX_ROOM = 2 * 16 + 4
_FEATURE_ROOM = len(_HEAD) + 36 + len(_OUTLINE) + len(_TAIL) + 2
UUID_LENGTH = 36


class Texts(NamedTuple):
    """Pieces of UTF-8 text: piece ``i`` is ``text[offsets[i]:offsets[i + 1]]``."""

    text: NDArray[np.uint8]
    offsets: NDArray[np.int64]

    @classmethod
    def of(cls, pieces: list[bytes]) -> Texts:
        """The given pieces."""
        sizes = [len(piece) for piece in pieces]
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes, dtype=np.int64)])
        return cls(np.frombuffer(b"".join(pieces), np.uint8), offsets)


class Outlines(NamedTuple):
    """The arrays of :class:`Polygons`, as compiled code takes them."""

    vertices: NDArray[np.int32]
    ring_offsets: NDArray[np.int64]
    polygon_offsets: NDArray[np.int64]

    @classmethod
    def of(cls, polygons: Polygons) -> Outlines:
        """The arrays of some polygons."""
        return cls(
            np.ascontiguousarray(polygons.vertices),
            polygons.ring_offsets,
            polygons.polygon_offsets,
        )


class Written(NamedTuple):
    """What is written of each nucleus beside its outline.

    ``uuids`` uint8 ``[n, 16]``; ``class_index`` uint8 ``[n]``, which of the texts of classes
    follows the outline; ``values`` float32 ``[n, m]``, the measurements.
    """

    uuids: NDArray[np.uint8]
    class_index: NDArray[np.uint8]
    values: NDArray[np.float32]


def features_text(
    polygons: Polygons, written: Written, classes: Texts, names: Texts
) -> NDArray[np.uint8]:
    """GeoJSON features, one a line, each line ended by a comma but for the last.

    Parameters
    ----------
    polygons
        The outlines; hundredths are written as decimals, digit by digit.
    written
        Ids, classes and measurements; a measurement that is not finite is left out.
    classes
        For every class the text between the rings and the first measurement.
    names
        For every measurement its name with quotes and colon.
    """
    room = (
        len(polygons) * (_FEATURE_ROOM + int(np.diff(classes.offsets).max(initial=0)))
        + len(polygons) * (len(names.text) + written.values.shape[1] * (_NUMBER_ROOM + 1))
        + (len(polygons.vertices) + len(polygons.ring_offsets)) * _VERTEX_ROOM
    )
    out = np.empty(room, np.uint8)
    return out[: _features(out, Outlines.of(polygons), written, classes, names)]


def uuid_text(uuids: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """uint8 ``[n, 36]``: the canonical lower-case text (RFC 9562) of ids ``[n, 16]``."""
    out = np.empty((len(uuids), UUID_LENGTH), np.uint8)
    _uuids(out, np.ascontiguousarray(uuids))
    return out


def polygons_wkb(polygons: Polygons) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Little-endian well-known binary (OGC 06-103r4, 8.2) of polygons, in level-0 pixels.

    Returns the bytes of all and int32 ``[n + 1]`` offsets.
    """
    rings = np.diff(polygons.polygon_offsets)
    points = np.diff(polygons.ring_offsets[polygons.polygon_offsets]) + rings
    sizes = 9 + 4 * rings + 16 * points
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
    out = np.empty(int(offsets[-1]), np.uint8)
    coordinates = (polygons.vertices / HUNDREDTHS).astype("<f8").view(np.uint8).reshape(-1, 16)
    _wkb(out, coordinates, polygons.ring_offsets, polygons.polygon_offsets)
    return out, offsets.astype(np.int32)


@njit(cache=True, nogil=True)
def _put(out, at, text):  # type: ignore[no-untyped-def]
    for k in range(len(text)):
        out[at + k] = text[k]
    return at + len(text)


@njit(cache=True, nogil=True)
def _put_integer(out, at, value):  # type: ignore[no-untyped-def]
    """Digits of a whole number that is not negative."""
    count, rest = 1, value // 10
    while rest:
        count += 1
        rest //= 10
    for k in range(count - 1, -1, -1):
        out[at + k] = 48 + value % 10
        value //= 10
    return at + count


@njit(cache=True, nogil=True)
def _put_hundredths(out, at, value):  # type: ignore[no-untyped-def]
    """A whole number of hundredths as a decimal without trailing zeros."""
    if value < 0:
        out[at] = 45
        at += 1
        value = -value
    at = _put_integer(out, at, value // 100)
    rest = value % 100
    if rest:
        out[at] = 46
        out[at + 1] = 48 + rest // 10
        at += 2
        if rest % 10:
            out[at] = 48 + rest % 10
            at += 1
    return at


@njit(cache=True, nogil=True)
def _scaled(value, exponent):  # type: ignore[no-untyped-def]
    """``value * 10 ** exponent``."""
    while exponent > 22:
        value *= 1e22
        exponent -= 22
    while exponent < -22:
        value /= 1e22
        exponent += 22
    return value * _POWERS[exponent] if exponent >= 0 else value / _POWERS[-exponent]


@njit(cache=True, nogil=True)
def _decimal(value):  # type: ignore[no-untyped-def]
    """Digits and decimal exponent of the shortest decimal that reads back as a float32.

    Six digits always survive the way to float32 and back, nine always suffice; a reader that
    goes through float64 finds the same number, for it divides the same two exact ones.
    """
    exponent = math.floor(math.log10(value))
    if _scaled(value, -exponent) >= 10.0:
        exponent += 1
    elif _scaled(value, -exponent) < 1.0:
        exponent -= 1
    digits = 0
    for places in range(5, 9):
        digits = round(_scaled(value, places - exponent))
        if np.float32(_scaled(float(digits), exponent - places)) == np.float32(value):
            exponent -= places
            break
    else:
        exponent -= 8
    while digits % 10 == 0:
        digits //= 10
        exponent += 1
    return digits, exponent


@njit(cache=True, nogil=True)
def _put_number(out, at, value):  # type: ignore[no-untyped-def]
    """A finite float32 as JSON."""
    if value == 0:
        out[at] = 48
        return at + 1
    if value < 0:
        out[at] = 45
        at += 1
        value = -value
    digits, exponent = _decimal(float(value))
    if exponent < -14 or exponent > 10:
        at = _put_integer(out, at, digits)
        out[at] = 101
        at += 1
        if exponent < 0:
            out[at] = 45
            at += 1
        return _put_integer(out, at, abs(exponent))
    if exponent >= 0:
        at = _put_integer(out, at, digits)
        for _ in range(exponent):
            out[at] = 48
            at += 1
        return at
    unit = int(_POWERS[-exponent])
    at = _put_integer(out, at, digits // unit)
    out[at] = 46
    at += 1
    rest = digits % unit
    for k in range(-exponent - 1, -1, -1):
        out[at + k] = 48 + rest % 10
        rest //= 10
    return at - exponent


@njit(cache=True, nogil=True)
def _put_uuid(out, at, uuid):  # type: ignore[no-untyped-def]
    for k in range(16):
        if k in (4, 6, 8, 10):
            out[at] = 45
            at += 1
        out[at] = _HEX[uuid[k] >> 4]
        out[at + 1] = _HEX[uuid[k] & 15]
        at += 2
    return at


@njit(cache=True, nogil=True)
def _put_ring(out, at, ring):  # type: ignore[no-untyped-def]
    """A closed ring of an open one."""
    out[at] = 91
    at += 1
    for k in range(len(ring) + 1):
        point = ring[k if k < len(ring) else 0]
        if k:
            out[at] = 44
            at += 1
        out[at] = 91
        at = _put_hundredths(out, at + 1, np.int64(point[0]))
        out[at] = 44
        at = _put_hundredths(out, at + 1, np.int64(point[1]))
        out[at] = 93
        at += 1
    out[at] = 93
    return at + 1


@njit(cache=True, nogil=True)
def _put_measurements(out, at, values, names):  # type: ignore[no-untyped-def]
    first = True
    for k in range(len(values)):
        if not math.isfinite(values[k]):
            continue
        if not first:
            out[at] = 44
            at += 1
        first = False
        at = _put(out, at, names.text[names.offsets[k] : names.offsets[k + 1]])
        at = _put_number(out, at, values[k])
    return at


@njit(cache=True, nogil=True)
def _features(out, outlines, written, classes, names):  # type: ignore[no-untyped-def]
    at = 0
    for cell in range(len(written.class_index)):
        if cell:
            out[at] = 44
            out[at + 1] = 10
            at += 2
        at = _put(out, at, _HEAD)
        at = _put_uuid(out, at, written.uuids[cell])
        at = _put(out, at, _OUTLINE)
        first = outlines.polygon_offsets[cell]
        for ring in range(first, outlines.polygon_offsets[cell + 1]):
            if ring > first:
                out[at] = 44
                at += 1
            start, stop = outlines.ring_offsets[ring], outlines.ring_offsets[ring + 1]
            at = _put_ring(out, at, outlines.vertices[start:stop])
        kind = written.class_index[cell]
        at = _put(out, at, classes.text[classes.offsets[kind] : classes.offsets[kind + 1]])
        at = _put_measurements(out, at, written.values[cell], names)
        at = _put(out, at, _TAIL)
    return at


@njit(cache=True, nogil=True)
def _uuids(out, uuids):  # type: ignore[no-untyped-def]
    for k in range(len(uuids)):
        _put_uuid(out[k], 0, uuids[k])


@njit(cache=True, nogil=True)
def _put_uint32(out, at, value):  # type: ignore[no-untyped-def]
    for k in range(4):
        out[at + k] = (value >> (8 * k)) & 255
    return at + 4


@njit(cache=True, nogil=True)
def _wkb(out, coordinates, ring_offsets, polygon_offsets):  # type: ignore[no-untyped-def]
    at = 0
    for cell in range(len(polygon_offsets) - 1):
        out[at] = 1
        at = _put_uint32(out, at + 1, 3)
        at = _put_uint32(out, at, polygon_offsets[cell + 1] - polygon_offsets[cell])
        for ring in range(polygon_offsets[cell], polygon_offsets[cell + 1]):
            start, stop = ring_offsets[ring], ring_offsets[ring + 1]
            at = _put_uint32(out, at, stop - start + 1)
            for vertex in range(start, stop + 1):
                source = vertex if vertex < stop else start
                for k in range(16):
                    out[at + k] = coordinates[source, k]
                at += 16
