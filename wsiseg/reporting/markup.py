"""Pieces of HTML that both pages are made of. Whatever comes from outside is escaped here."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

from wsiseg.reporting.pictures import Picture
from wsiseg.statistics import ROUGH_BLOCKS, Estimate
from wsiseg.summary.numbers import short
from wsiseg.summary.style import STYLE

_OWN_STYLE = """
.said{border-left:3px solid var(--amber);padding:2px 0 2px 14px;margin:18px 0}
.said li{margin:2px 0}ul{padding-left:1.2em;margin:6px 0}
.pics{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:18px;align-items:start}
.crops{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(250px,100%),1fr));gap:14px}
figure{margin:0;break-inside:avoid}figcaption{margin:0 0 4px}figcaption span{display:block}
figure img{display:block;max-width:100%;height:auto;border:1px solid var(--rule)}
.slim img{width:auto;max-height:620px}
.map img{image-rendering:pixelated;width:auto;max-width:100%;min-width:120px;border:0}
.ramp{display:flex;gap:8px;white-space:nowrap;align-items:center;margin-top:6px}
.ramp img{height:12px;width:160px;border:0}
.plots{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(290px,100%),1fr));
gap:18px 32px}
.plot{break-inside:avoid}.plot svg{margin:4px 0}
.chip{display:inline-block;width:12px;height:12px;border-radius:2px;margin-right:6px;
vertical-align:-1px}
td svg{width:180px}th[scope=row]{vertical-align:top}
.bar{display:block;height:10px;background:#3d6fb4;border-radius:2px;min-width:1px}
td.bars{width:220px}
.tag{display:inline-block;border:1px solid var(--amber);color:var(--amber);border-radius:4px;
padding:0 8px;font-size:12px}
code{font-size:12px;overflow-wrap:anywhere}
h2,h3{break-after:avoid}
.facts{display:grid;grid-template-columns:repeat(auto-fill,minmax(165px,1fr));gap:14px 24px}
.facts small{display:block;color:var(--grey)}
p.lead{break-after:avoid}.strips + .wide{margin-top:18px}
"""

SLIDE_STYLE = (
    STYLE
    + _OWN_STYLE
    + """
body{max-width:1120px}
@media print{@page{size:A4 portrait;margin:12mm}body{font-size:10px}h1{font-size:20px}
h2{font-size:14px;margin:18px 0 6px}h3{font-size:12px;margin:12px 0 4px}
.facts{gap:6px 16px;grid-template-columns:repeat(5,1fr);
margin:10px 0 0;padding:8px 0}
.facts b{font-size:16px}.slim img{max-height:96mm}
.crops{grid-template-columns:repeat(4,minmax(0,1fr))}
.plots{grid-template-columns:repeat(3,minmax(0,1fr))}.tag{font-size:9px}td svg{width:110px}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
"""
)
"""How a slide's report looks: A4 upright in print."""

COHORT_STYLE = (
    STYLE
    + _OWN_STYLE
    + """
@media print{@page{size:A4 landscape;margin:12mm}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
"""
)
"""How a cohort's report looks: A4 across in print."""


def document(title: str, style: str, parts: Iterable[str], script: str = "") -> str:
    """A page that loads nothing from elsewhere and runs ``script`` alone.

    ``parts`` are HTML, ``title`` is text.
    """
    allowed = "script-src 'unsafe-inline'" if script else "script-src 'none'"
    head = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        f"style-src 'unsafe-inline'; {allowed}\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{style}</style>\n</head>\n<body>"
    )
    last = f"\n<script>{script}</script>" if script else ""
    return "\n".join([head, *parts]) + f"{last}\n</body>\n</html>\n"


def facts(members: Iterable[tuple[str, str, str]]) -> str:
    """Key numbers: value, what it is, and a smaller line on what that means."""
    shown = "".join(
        f"<div><b>{escape(value)}</b>{escape(meaning)}<small>{escape(more)}</small></div>"
        for value, meaning, more in members
    )
    return f'<div class="facts">{shown}</div>'


def figure(picture: Picture, kind: str = "") -> str:
    """A picture under its caption."""
    mark = f' class="{kind}"' if kind else ""
    note = f' <span class="grey">{escape(picture.note)}</span>' if picture.note else ""
    caption = f"<figcaption><b>{escape(picture.caption)}</b>{note}</figcaption>"
    return (
        f'<figure{mark}>{caption if picture.caption else ""}<img alt="{escape(picture.caption)}" '
        f'src="{escape(picture.uri)}" width="{picture.width}" height="{picture.height}"></figure>'
    )


def bullets(texts: Sequence[str]) -> str:
    """A list of sentences; nothing of none."""
    told = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return f"<ul>{told}</ul>" if told else ""


def rows_table(rows: Iterable[tuple[str, str]]) -> str:
    """Names and texts in two columns; rows without text are left out."""
    told = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td class="text">{escape(text)}</td></tr>'
        for name, text in rows
        if text
    )
    return f"<table><tbody>{told}</tbody></table>"


def plain_table(headings: Sequence[tuple[str, str]], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are HTML already, under headings ``(text, class)``."""
    head = "".join(f"<th{_kind(kind)}>{escape(text)}</th>" for text, kind in headings)
    kinds = [kind for _, kind in headings]
    body = "".join(
        "<tr>"
        + "".join(f"<td{_kind(k)}>{c}</td>" for k, c in zip(kinds, cells, strict=True))
        + "</tr>"
        for cells in rows
    )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="wide">{table}</div>'


def _kind(name: str) -> str:
    return f' class="{name}"' if name else ""


def known(value: float | None) -> float | None:
    """``None`` in place of what is not a finite number."""
    return value if value is not None and math.isfinite(value) else None


def interval(estimate: Estimate) -> str:
    """``low to high``, led by ``~`` where it rests on few blocks; nothing where there is none."""
    if not math.isfinite(estimate.low):
        return ""
    rough = "~" if estimate.blocks and estimate.blocks < ROUGH_BLOCKS else ""
    return f"{rough}{short(estimate.low)} to {short(estimate.high)}"
