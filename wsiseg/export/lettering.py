"""Text on pictures in the one typeface that Pillow brings along, the same on every machine.

That typeface has no micro sign and no superscript two, which a picture with a scale cannot do
without: both are composed here from the letter u and the digit 2.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import Literal

from PIL import Image, ImageDraw, ImageFont

Color = tuple[int, int, int]
Align = Literal["left", "middle", "right"]

_COMPOSED = "µ²"
_RAISED_SIZE = 0.62
_RAISED_BY = 0.36
# The left stem of the letter u and the depth of a p, in parts of the size.
_STEM_ACROSS = (0.066, 0.152)
_STEM_DOWN = (-0.2, 0.195)
_FINER = 4
_ABSENT = "\uffff"


def text_width(text: str, size: int) -> float:
    """Width in px of ``text`` set at ``size`` px."""
    return sum(_advance(run, size) for run in _runs(text))


def draw_text(
    draw: ImageDraw.ImageDraw,
    at: tuple[float, float],
    text: str,
    size: int,
    color: Color,
    align: Align = "left",
) -> None:
    """Set one line of ``text`` with its baseline at ``at``, ``(x, y)`` in px.

    Letters that the typeface lacks lose their accent, or become a question mark.
    """
    x, y = at
    x -= text_width(text, size) * {"left": 0.0, "middle": 0.5, "right": 1.0}[align]
    for run in _runs(text):
        if run == "²":
            raised = _font(round(size * _RAISED_SIZE))
            draw.text((x, y - _RAISED_BY * size), "2", color, raised, anchor="ls")
        elif run == "µ":
            draw.bitmap((round(x), round(y) - size), _micro(size), color)
        else:
            draw.text((x, y), run, color, _font(size), anchor="ls")
        x += _advance(run, size)


def fitted(text: str, size: int, width: float) -> str:
    """``text``, its middle left out where it would be wider than ``width`` px."""
    if text_width(text, size) <= width:
        return text
    for kept in range(len(text) - 1, 1, -1):
        shorter = f"{text[: (kept + 1) // 2]}...{text[len(text) - kept // 2 :]}"
        if text_width(shorter, size) <= width:
            return shorter
    return text[:1]


@lru_cache(maxsize=32)
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise TypeError("this Pillow was built without FreeType")
    return font


@lru_cache(maxsize=32)
def _micro(size: int) -> Image.Image:
    """Coverage 0..255 of the micro sign, its baseline ``size`` px below the top."""
    fine = size * _FINER
    sign = Image.new("L", (fine, 2 * fine))
    draw = ImageDraw.Draw(sign)
    draw.text((0, fine), "u", 255, _font(fine), anchor="ls")
    left, right = (round(edge * fine) for edge in _STEM_ACROSS)
    top, bottom = (round(fine + edge * fine) for edge in _STEM_DOWN)
    draw.rectangle((left, top, right - 1, bottom - 1), 255)
    return sign.reduce(_FINER)


@lru_cache(maxsize=1024)
def _drawn(letter: str) -> str:
    """``letter`` as far as the typeface has it."""
    font = _font(32)
    absent = bytes(font.getmask(_ABSENT))
    plain = unicodedata.normalize("NFKD", letter)[:1]
    for candidate in (letter, plain):
        if candidate.isspace():
            return " "
        if bytes(font.getmask(candidate)) not in (absent, b""):
            return candidate
    return "?"


def _advance(run: str, size: int) -> float:
    if run == "²":
        return _font(round(size * _RAISED_SIZE)).getlength("2")
    return _font(size).getlength("u" if run == "µ" else run)


def _runs(text: str) -> list[str]:
    """``text`` cut into composed letters and the stretches between them."""
    runs: list[str] = []
    joins = False
    for letter in text.replace("\u03bc", "µ"):
        if letter in _COMPOSED:
            runs.append(letter)
            joins = False
        elif joins:
            runs[-1] += _drawn(letter)
        else:
            runs.append(_drawn(letter))
            joins = True
    return runs
