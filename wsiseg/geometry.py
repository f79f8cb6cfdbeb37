"""Sizes, boxes, pixel sizes and frames: the only place where coordinates are converted.

Every frame of a slide shares the upper left corner of level 0. Pixel ``i`` of an axis covers
the interval ``[i, i + 1)`` and has its centre at ``i + 0.5``. Points are ``(x, y)``, arrays are
``(y, x, c)``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from wsiseg.errors import ResolutionError

MAX_ANISOTROPY = 0.015
"""Largest relative difference of the pixel size along x and y that counts as square."""

HUNDREDTHS = 100
"""Vertices are integers in hundredths of a level-0 pixel."""


@dataclass(frozen=True, slots=True, order=True)
class Size:
    """Width and height in pixels."""

    width: int
    height: int

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise ValueError(f"a size must be positive, not {self.width} x {self.height}")

    @property
    def area(self) -> int:
        """Number of pixels."""
        return self.width * self.height


@dataclass(frozen=True, slots=True, order=True)
class Box:
    """Half-open integer box ``[x0, x1) x [y0, y1)`` in the pixels of one frame."""

    x0: int
    y0: int
    x1: int
    y1: int

    def __post_init__(self) -> None:
        if self.x1 < self.x0 or self.y1 < self.y0:
            raise ValueError(f"a box must not be inside out: {self}")

    @classmethod
    def of(cls, size: Size) -> Box:
        """The box that covers ``size`` from the origin."""
        return cls(0, 0, size.width, size.height)

    @property
    def width(self) -> int:
        """Extent along x in pixels."""
        return self.x1 - self.x0

    @property
    def height(self) -> int:
        """Extent along y in pixels."""
        return self.y1 - self.y0

    @property
    def area(self) -> int:
        """Number of pixels."""
        return self.width * self.height

    @property
    def shape(self) -> tuple[int, int]:
        """``(height, width)``: the shape of an array that holds the box."""
        return self.height, self.width

    @property
    def empty(self) -> bool:
        """Whether the box holds no pixel."""
        return self.area == 0

    def grown(self, by: int) -> Box:
        """The box with ``by`` pixels more on every side (fewer where negative)."""
        return Box(self.x0 - by, self.y0 - by, self.x1 + by, self.y1 + by)

    def shifted(self, dx: int, dy: int) -> Box:
        """The box moved by ``(dx, dy)``."""
        return Box(self.x0 + dx, self.y0 + dy, self.x1 + dx, self.y1 + dy)

    def intersection(self, other: Box) -> Box:
        """The common part; an empty box where there is none."""
        x0, y0 = max(self.x0, other.x0), max(self.y0, other.y0)
        return Box(x0, y0, max(x0, min(self.x1, other.x1)), max(y0, min(self.y1, other.y1)))

    def union(self, other: Box) -> Box:
        """The smallest box that covers both."""
        return Box(
            min(self.x0, other.x0),
            min(self.y0, other.y0),
            max(self.x1, other.x1),
            max(self.y1, other.y1),
        )

    def intersects(self, other: Box) -> bool:
        """Whether the two share at least one pixel."""
        return not self.intersection(other).empty

    def contains(self, other: Box) -> bool:
        """Whether ``other`` lies wholly inside."""
        return (
            self.x0 <= other.x0
            and self.y0 <= other.y0
            and other.x1 <= self.x1
            and other.y1 <= self.y1
        )

    def slices(self, origin: Box | None = None) -> tuple[slice, slice]:
        """``(y, x)`` slices of the box in an array whose first pixel is ``origin``'s corner."""
        ox, oy = (origin.x0, origin.y0) if origin is not None else (0, 0)
        return slice(self.y0 - oy, self.y1 - oy), slice(self.x0 - ox, self.x1 - ox)

    def split(self, step: int) -> Iterator[Box]:
        """The cells of the global lattice of ``step`` pixels that meet the box, cut to it.

        Row by row, left to right.
        """
        for y in range(self.y0 // step * step, self.y1, step):
            for x in range(self.x0 // step * step, self.x1, step):
                cell = Box(x, y, x + step, y + step).intersection(self)
                if not cell.empty:
                    yield cell


@dataclass(frozen=True, slots=True)
class MPP:
    """Pixel size in micrometres a pixel along x and y.

    Raises
    ------
    ResolutionError
        If a value is not positive and finite, or the two differ by more than 1.5 %.
    """

    x: float
    y: float

    def __post_init__(self) -> None:
        for value in (self.x, self.y):
            if not (math.isfinite(value) and value > 0):
                raise ResolutionError(f"a pixel size must be positive, not {value} µm/px")
        if abs(self.x - self.y) > MAX_ANISOTROPY * max(self.x, self.y):
            raise ResolutionError(
                f"the pixels are not square: {self.x:g} x {self.y:g} µm/px differ by more than "
                f"{MAX_ANISOTROPY:.1%}; if the header is wrong, state the pixel size (--mpp)"
            )

    @classmethod
    def square(cls, value: float) -> MPP:
        """The same pixel size along both axes."""
        return cls(float(value), float(value))

    @property
    def mean(self) -> float:
        """Geometric mean of the two, so that ``mean ** 2`` is the area of a pixel in µm²."""
        return math.sqrt(self.x * self.y)

    @property
    def pixel_area_um2(self) -> float:
        """Area of one pixel in µm²."""
        return self.x * self.y

    def times(self, factor: float) -> MPP:
        """The pixel size after reducing by ``factor``."""
        return MPP(self.x * factor, self.y * factor)


@dataclass(frozen=True, slots=True)
class Frame:
    """One resolution of a slide: its size in pixels and its pixel size.

    All frames of a slide share the upper left corner of level 0; the last row and column may
    reach beyond the slide.
    """

    size: Size
    mpp: MPP

    @property
    def box(self) -> Box:
        """The whole frame."""
        return Box.of(self.size)

    @property
    def area_mm2(self) -> float:
        """Area in mm²."""
        return self.size.area * self.mpp.pixel_area_um2 * 1e-6

    def at(self, mpp: MPP) -> Frame:
        """The frame of the same slide at another pixel size: the smallest that covers it."""
        fx, fy = mpp.x / self.mpp.x, mpp.y / self.mpp.y
        # A product of two floats may land a hair above a whole number; that is no extra pixel.
        width = math.ceil(self.size.width / fx - 1e-6)
        height = math.ceil(self.size.height / fy - 1e-6)
        return Frame(Size(max(width, 1), max(height, 1)), mpp)

    def reduced(self, factor: int) -> Frame:
        """The frame at ``factor`` times the pixel size."""
        return self.at(self.mpp.times(factor))

    def scale_to(self, other: Frame) -> tuple[float, float]:
        """``(fx, fy)``: pixels of ``other`` per pixel of this frame."""
        return self.mpp.x / other.mpp.x, self.mpp.y / other.mpp.y

    def box_in(self, box: Box, other: Frame) -> Box:
        """The smallest box of ``other`` that covers ``box`` of this frame."""
        fx, fy = self.scale_to(other)
        return Box(
            math.floor(box.x0 * fx + 1e-6),
            math.floor(box.y0 * fy + 1e-6),
            math.ceil(box.x1 * fx - 1e-6),
            math.ceil(box.y1 * fy - 1e-6),
        )
