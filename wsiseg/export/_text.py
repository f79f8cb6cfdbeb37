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

_inlined = njit(cache=True, nogil=True, forceinline=True)
_U = np.uint64
_LEAST_NORMAL = float(np.finfo(np.float32).tiny)
_HALF_ULP = 1.001 * 2.0**-24
"""At least half the distance to the next float32, over the number itself, where it is normal."""

_OVERHANG = 8
"""Digits are written eight bytes at a time."""

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
    polygons: Polygons, written: Written, classes: Texts, names: Texts, opening: bytes = b""
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
    opening
        Text that stands before the first feature.
    """
    room = len(opening) + (
        len(polygons) * (_FEATURE_ROOM + int(np.diff(classes.offsets).max(initial=0)))
        + len(polygons) * (len(names.text) + written.values.shape[1] * (_NUMBER_ROOM + 1))
        + (len(polygons.vertices) + len(polygons.ring_offsets)) * _VERTEX_ROOM
    )
    out = np.empty(room + _OVERHANG, np.uint8)
    out[: len(opening)] = np.frombuffer(opening, np.uint8)
    end = _features(out, len(opening), Outlines.of(polygons), written, classes, names)
    return out[:end]


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


@_inlined
def _put_word(out, at, word):  # type: ignore[no-untyped-def]
    """Eight bytes, the lowest first; what follows the wanted ones is overwritten later."""
    for k in range(8):
        out[at + k] = word >> _U(8 * k) & _U(255)


@_inlined
def _eight_digits(value):  # type: ignore[no-untyped-def]
    """The decimal digits of a uint64 below 10**8 as eight characters, the first the lowest byte.

    All are found at once: two numbers of four digits in the halves of a word, four of two
    digits in its quarters, then eight of one. Quotients by 100 and 10 are products with
    rounded-up reciprocals, exact for numbers of so few digits.
    """
    high = value // _U(10_000)
    word = high | (value - high * _U(10_000)) << _U(32)
    hundreds = word * _U(10_486) >> _U(20) & _U(0x7F_0000_007F)
    word = hundreds | (word - hundreds * _U(100)) << _U(16)
    tens = word * _U(103) >> _U(10) & _U(0xF_000F_000F_000F)
    word = tens | (word - tens * _U(10)) << _U(8)
    return word | _U(0x3030_3030_3030_3030)


@_inlined
def _put_padded(out, at, value, count):  # type: ignore[no-untyped-def]
    """A uint64 below 10**16 as ``count`` digits, zeros in front."""
    low = value
    if count > 8:
        high = value // _U(10**8)
        low = value - high * _U(10**8)
        _put_word(out, at, _eight_digits(high) >> _U(8 * (16 - count)))
        at += count - 8
        count = 8
    _put_word(out, at, _eight_digits(low) >> _U(8 * (8 - count)))
    return at + count


@_inlined
def _put_integer(out, at, value):  # type: ignore[no-untyped-def]
    """Digits of a uint64 below 10**10."""
    count = 1 + (value >= _U(10)) + (value >= _U(10**2)) + (value >= _U(10**3))
    count += (value >= _U(10**4)) + (value >= _U(10**5)) + (value >= _U(10**6))
    count += (value >= _U(10**7)) + (value >= _U(10**8)) + (value >= _U(10**9))
    return _put_padded(out, at, value, count)


@_inlined
def _put_hundredths(out, at, value):  # type: ignore[no-untyped-def]
    """A whole number of hundredths as a decimal without trailing zeros."""
    if value < 0:
        out[at] = 45
        at += 1
        value = -value
    whole = _U(value) // _U(100)
    rest = _U(value) - whole * _U(100)
    at = _put_integer(out, at, whole)
    if rest == _U(0):
        return at
    out[at] = 46
    return _put_padded(out, at + 1, rest, 2) - (rest % _U(10) == _U(0))


@_inlined
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
    # By the binary exponent, times log10(2): right, or one too low.
    exponent = (math.frexp(value)[1] - 1) * 1233 >> 12
    while _scaled(value, -exponent) >= 10.0:
        exponent += 1
    while _scaled(value, -exponent) < 1.0:
        exponent -= 1
    nine = _scaled(value, 8 - exponent)
    # Shorter decimals that are farther off than this would not read back: they are not tried.
    reach = nine * _HALF_ULP if value >= _LEAST_NORMAL else nine
    places = 5 + (abs(nine - np.rint(nine * 1e-3) * 1e3) > reach)
    places += places == 6 and abs(nine - np.rint(nine * 1e-2) * 1e2) > reach
    while True:
        digits = round(_scaled(value, places - exponent))
        same = np.float32(_scaled(float(digits), exponent - places)) == np.float32(value)
        if same or places == 8:
            break
        places += 1
    exponent -= places
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
    found, exponent = _decimal(float(value))
    digits = _U(found)
    if exponent < -14 or exponent > 10:
        at = _put_integer(out, at, digits)
        out[at] = 101
        at += 1
        if exponent < 0:
            out[at] = 45
            at += 1
        return _put_integer(out, at, _U(abs(exponent)))
    if exponent >= 0:
        at = _put_integer(out, at, digits)
        for _ in range(exponent):
            out[at] = 48
            at += 1
        return at
    unit = _U(_POWERS[-exponent])
    whole = digits // unit
    at = _put_integer(out, at, whole)
    out[at] = 46
    return _put_padded(out, at + 1, digits - whole * unit, -exponent)


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


@_inlined
def _put_ring(out, at, ring):  # type: ignore[no-untyped-def]
    """A closed ring of an open one."""
    out[at] = 91
    at += 1
    for k in range(len(ring) + 1):
        point = k if k < len(ring) else 0
        if k:
            out[at] = 44
            at += 1
        out[at] = 91
        at = _put_hundredths(out, at + 1, np.int64(ring[point, 0]))
        out[at] = 44
        at = _put_hundredths(out, at + 1, np.int64(ring[point, 1]))
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
def _features(out, at, outlines, written, classes, names):  # type: ignore[no-untyped-def]
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
