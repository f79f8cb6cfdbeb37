"""A page of text and pictures that grows downwards."""

from __future__ import annotations

from collections.abc import Callable

from PIL import Image, ImageDraw

from wsiseg.export.drawing import INK, PAPER
from wsiseg.export.lettering import Color, draw_text

PAGE_PX = 2400
MARGIN_PX = 72
RIGHT_PX = PAGE_PX - MARGIN_PX
"""Where the margin on the right begins."""

_RULE: Color = (214, 216, 220)


class Page:
    """A white page; ``y`` is where the next thing begins.

    It is drawn in the end, when all is on it and its height is known.
    """

    def __init__(self) -> None:
        self.y = MARGIN_PX
        self._steps: list[Callable[[Image.Image, ImageDraw.ImageDraw], None]] = []

    def text(
        self, x: float, text: str, size: int, color: Color = INK, *, y: float | None = None
    ) -> None:
        """A line of text with its baseline at ``y``, or just below what stands."""
        at = (x, self.y + size if y is None else y)
        self._steps.append(lambda _, draw: draw_text(draw, at, text, size, color))

    def paste(self, picture: Image.Image, x: int, y: int) -> None:
        """A picture with its upper left corner at ``x, y``, in a thin frame."""
        box = (x - 1, y - 1, x + picture.width, y + picture.height)
        self._steps.append(lambda page, _: page.paste(picture, (x, y)))
        self._steps.append(lambda _, draw: draw.rectangle(box, outline=_RULE))

    def block(self, box: tuple[float, float, float, float], color: Color) -> None:
        """A box ``x0, y0, x1, y1`` full of a colour."""
        self._steps.append(lambda _, draw: draw.rectangle(box, color))

    def line(self, ends: tuple[float, float, float, float], color: Color, width: int) -> None:
        """A line from ``x0, y0`` to ``x1, y1``."""
        self._steps.append(lambda _, draw: draw.line(ends, color, width))

    def rule(self) -> None:
        """A thin line across the page."""
        self.line((MARGIN_PX, self.y, RIGHT_PX, self.y), _RULE, 2)

    def drawn(self) -> Image.Image:
        """The page in RGB with what stands on it, a margin below the last thing."""
        page = Image.new("RGB", (PAGE_PX, self.y + MARGIN_PX), PAPER)
        draw = ImageDraw.Draw(page)
        for step in self._steps:
            step(page, draw)
        return page
