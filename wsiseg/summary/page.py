"""``summary.html``: one page that needs nothing else, for whoever reads it in the morning.

First what asks for a look (failures, slides that stand out, warnings), then all slides. Every
text that comes from outside is escaped; nothing is loaded from elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from urllib.parse import quote

from wsiseg.summary.numbers import short, whole
from wsiseg.summary.outliers import COLOUR, LEAST_SLIDES, RULE, Comparison
from wsiseg.summary.rows import SlideRow
from wsiseg.summary.strips import strip
from wsiseg.summary.style import SCRIPT, STYLE

MOST_LISTED = 200
"""Failures, slides that stand out, and warnings shown in full; the table has them all."""

_SHOWN_NAMES = 6
_SHORT = 28


@dataclass(frozen=True, slots=True)
class Summary:
    """All that the page and the tables are made of.

    Attributes
    ----------
    title, date, version
        Name of the run directory, when the summary was made (ISO 8601), and by which wsiseg.
    rows
        The slides.
    comparisons
        Their measures held against each other.
    overviews
        Names of the slides that have an ``overview.png``.
    """

    title: str
    date: str
    version: str
    rows: tuple[SlideRow, ...]
    comparisons: tuple[Comparison, ...]
    overviews: frozenset[str]

    def oddities(self, slide: int) -> list[Comparison]:
        """The measures in which a slide stands out, the farthest first."""
        found = [one for one in self.comparisons if one.out[slide]]
        return sorted(found, key=lambda one: -abs(float(one.z[slide])))

    def of_state(self, *states: str) -> list[int]:
        """Places of the slides in one of these states."""
        return [i for i, row in enumerate(self.rows) if row.state in states]


def page(summary: Summary, pictures: Mapping[str, str]) -> str:
    """The page as HTML.

    Parameters
    ----------
    summary
        What to show.
    pictures
        Thumbnails by the slide's name, as data URIs; those that are missing are left out.
    """
    parts = [*_head(summary), *_first(summary, pictures), *_strips(summary)]
    parts += [*_table(summary, pictures), *_notes(summary), f"<script>{SCRIPT}</script>"]
    return "\n".join([_OPENING.format(title=escape(summary.title), style=STYLE), *parts, _CLOSING])


def sentence(found: Comparison, slide: int) -> str:
    """How a slide stands out, in words."""
    unit = found.measure.unit
    value = short(float(found.values[slide]))
    measured = f"{value}{unit}" if found.measure is COLOUR else f"{value} {unit}".rstrip()
    return (
        f"{found.verdict(slide)}: {found.measure.name} {measured} "
        f"(typical {short(float(found.typical[slide]))}, z {float(found.z[slide]):+.1f})"
    )


def notes(summary: Summary, slide: int) -> list[str]:
    """What is worth knowing of a slide: failure, oddities, warnings."""
    row = summary.rows[slide]
    found = [_reason(row)] if row.reason else []
    found += [sentence(one, slide) for one in summary.oddities(slide)]
    found += ["no nuclei were found"] if row.nuclei == 0 else []
    return found + list(row.warnings)


_OPENING = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; \
style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}: summary</title>
<style>{style}</style>
</head>
<body>"""

_CLOSING = "</body>\n</html>\n"


def _head(summary: Summary) -> Iterable[str]:
    rows = summary.rows
    done = summary.of_state("whole")
    tone = "good" if len(done) == len(rows) else ""
    facts = [(f"{len(done):,} of {len(rows):,}", "slides whole", tone)]
    for states, word, tone in (
        (("failed",), "failed", "bad"),
        (("begun", "waiting"), "not finished", "odd"),
    ):
        count = len(summary.of_state(*states))
        facts += [(f"{count:,}", word, tone)] if count else []
    odd = sum(bool(summary.oddities(i)) for i in done)
    facts += [(f"{odd:,}", "stand out", "odd")] if odd else []
    facts.append((whole(sum(row.nuclei or 0 for row in rows)), "nuclei", ""))
    facts.append((f"{short(sum(row.tissue_mm2 or 0 for row in rows))} mm²", "of tissue", ""))
    yield f"<h1>{escape(summary.title)}</h1>"
    yield f'<p class="grey">{escape(summary.date)}, wsiseg {escape(summary.version)}</p>'
    yield '<div class="facts">'
    yield from (
        f'<div><b class="{tone}">{value}</b>{escape(word)}</div>' for value, word, tone in facts
    )
    yield "</div>"


def _first(summary: Summary, pictures: Mapping[str, str]) -> Iterable[str]:
    failed = summary.of_state("failed")
    whole_ones = summary.of_state("whole")
    odd = [i for i in whole_ones if summary.oddities(i)]
    odd.sort(key=lambda i: -abs(float(summary.oddities(i)[0].z[i])))
    warned = _by_warning(summary)
    pending = summary.of_state("begun", "waiting")
    yield "<h2>Look at these first</h2>"
    if not (failed or odd or warned or pending):
        yield "<p>Nothing: every slide is whole, none stands out, nothing was warned of.</p>"
    if failed:
        yield f"<h3>Failed ({len(failed):,})</h3><table><tbody>"
        for i in failed[:MOST_LISTED]:
            row = summary.rows[i]
            yield (
                f'<tr><td class="name" title="{escape(row.path)}">{escape(row.name)}</td>'
                f'<td class="text bad">{escape(_reason(row))}</td></tr>'
            )
        yield f"</tbody></table>{_more(failed)}"
    if pending:
        yield f"<h3>Not finished ({len(pending):,})</h3>"
        yield f"<p>{_names([summary.rows[i].name for i in pending])}</p>"
    if odd:
        yield f'<h3>Stand out among the others ({len(odd):,})</h3><div class="cards">'
        yield from (_card(summary, i, pictures) for i in odd[:MOST_LISTED])
        yield f"</div>{_more(odd)}"
    if warned:
        yield f"<h3>Warnings ({len(warned):,})</h3><table><tbody>"
        for text, names in list(warned.items())[:MOST_LISTED]:
            yield (
                f'<tr><td class="text">{escape(text)}</td>'
                f'<td class="name">{_names(names)}</td></tr>'
            )
        yield f"</tbody></table>{_more(list(warned))}"


def _reason(row: SlideRow) -> str:
    """Why a slide failed, without the name that stands beside it."""
    return row.reason.removeprefix(f"{row.path}: ").removeprefix(f"{row.name}: ")


def _by_warning(summary: Summary) -> dict[str, list[str]]:
    """Slides by what they are warned of, the most frequent warning first."""
    found: dict[str, list[str]] = {}
    for row in summary.rows:
        for text in [*row.warnings, *(["no nuclei were found"] if row.nuclei == 0 else [])]:
            found.setdefault(text, []).append(row.name)
    return dict(sorted(found.items(), key=lambda item: -len(item[1])))


def _card(summary: Summary, slide: int, pictures: Mapping[str, str]) -> str:
    row = summary.rows[slide]
    told = "".join(f"<li>{escape(sentence(one, slide))}</li>" for one in summary.oddities(slide))
    about = " · ".join(text for text in (row.group, row.stain, row.model) if text)
    return (
        f'<div class="card"><div class="pic">{_picture(row, pictures)}</div><div>'
        f'<b>{_link(summary, row)}</b><div class="grey">{escape(about)}</div>'
        f"<ul>{told}</ul></div></div>"
    )


def _strips(summary: Summary) -> Iterable[str]:
    names = [row.name for row in summary.rows]
    drawn = [(one, strip(one, names)) for one in summary.comparisons]
    drawn = [(one, picture) for one, picture in drawn if picture]
    if not drawn or len(summary.of_state("whole")) < 2:
        return
    yield "<h2>Slides side by side</h2>"
    yield '<p class="grey">A dot is a slide, a red one stands out; the line is the typical slide.'
    if not any(bool((one.z == one.z).any()) for one, _ in drawn):
        yield f"With fewer than {LEAST_SLIDES} slides of a kind none is said to stand out."
    yield '</p><div class="strips">'
    for one, picture in drawn:
        unit = f', <span class="grey">{escape(one.measure.unit)}</span>' if one.measure.unit else ""
        name = one.measure.name[:1].upper() + one.measure.name[1:]
        yield f'<div class="strip"><b>{escape(name)}</b>{unit}{picture}</div>'
    yield "</div>"


_Column = tuple[str, Callable[[SlideRow], float | int | None], Callable[[SlideRow], str]]

_NUMBERS: tuple[_Column, ...] = (
    ("Nuclei", lambda r: r.nuclei, lambda r: whole(r.nuclei)),
    ("Tissue mm²", lambda r: r.tissue_mm2, lambda r: short(r.tissue_mm2)),
    ("Nuclei/mm²", lambda r: r.nuclei_per_mm2, lambda r: short(r.nuclei_per_mm2)),
    ("Median µm²", lambda r: r.nuclear_area_um2, lambda r: short(r.nuclear_area_um2)),
    ("Focus", lambda r: r.sharpness, lambda r: short(r.sharpness)),
    ("Haem. OD", lambda r: r.haematoxylin_od, lambda r: short(r.haematoxylin_od)),
    ("Signal", lambda r: r.signal, lambda r: short(r.signal)),
    ("Damaged", lambda r: r.damaged_places, lambda r: whole(r.damaged_places)),
    ("Re-read", lambda r: r.rereads, lambda r: whole(r.rereads)),
    ("Settled", lambda r: r.settled, lambda r: whole(r.settled)),
    ("Truncated", lambda r: r.truncated, lambda r: whole(r.truncated)),
    ("Seconds", lambda r: r.seconds, lambda r: short(r.seconds)),
    ("mm²/s", lambda r: r.mm2_per_second, lambda r: short(r.mm2_per_second)),
)


def _table(summary: Summary, pictures: Mapping[str, str]) -> Iterable[str]:
    rows = summary.rows
    numbers = [c for c in _NUMBERS if any(c[1](row) is not None for row in rows)]
    texts = _texts(rows)
    yield '<h2>All slides</h2><div class="wide"><table><thead><tr><th></th>'
    yield _heading("Slide") + _heading("State")
    yield "".join(_heading(name, "n") for name, _, _ in numbers)
    yield "".join(_heading(name) for name in texts)
    yield "<th>Notes</th></tr></thead><tbody>"
    for i, row in enumerate(rows):
        tone = {"whole": "good", "failed": "bad"}.get(row.state, "odd")
        cells = [
            f'<td class="thumb">{_picture(row, pictures)}</td>',
            f'<td class="name" data-v="{escape(row.name)}">{_link(summary, row)}</td>',
            f'<td class="{tone}" data-v="{row.state}">{row.state}</td>',
        ]
        for _, value, shown in numbers:
            number = value(row)
            exact = "" if number is None else f"{number:.9g}"
            cells.append(f'<td class="n" data-v="{exact}">{shown(row)}</td>')
        for get in texts.values():
            text = escape(get(row))
            kind = ' class="short"' if len(text) <= _SHORT else ""
            cells.append(f'<td{kind} data-v="{text}">{text}</td>')
        told = "<br>".join(escape(text) for text in notes(summary, i))
        yield f'<tr>{"".join(cells)}<td class="text">{told}</td></tr>'
    yield "</tbody></table></div>"


def _texts(rows: Sequence[SlideRow]) -> dict[str, Callable[[SlideRow], str]]:
    """Columns of text that at least one slide has something in."""

    def of_metadata(name: str) -> Callable[[SlideRow], str]:
        return lambda row: row.metadata.get(name, "")

    names = dict.fromkeys(name for row in rows for name in row.metadata)
    columns: dict[str, Callable[[SlideRow], str]] = {
        "Group": lambda row: row.group,
        "Stain": lambda row: row.stain,
        "Model": lambda row: row.model,
        "µm/px": lambda row: " ".join(filter(None, (short(row.mpp), row.mpp_source))),
        **{f"{name}": of_metadata(name) for name in names},
    }
    return {name: get for name, get in columns.items() if any(get(row) for row in rows)}


def _notes(summary: Summary) -> Iterable[str]:
    yield f"<h2>How to read this</h2><p>{escape(RULE)}</p><dl>"
    for one in summary.comparisons:
        of = one.measure
        term = f"{of.name} ({of.unit})" if of.unit else of.name
        least = f"{of.least:g}°" if of is COLOUR else f"a factor of {of.least:g}"
        yield f"<dt>{escape(term)}</dt><dd>{escape(of.meaning)}; least difference: {least}</dd>"
    yield (
        "<dt>seconds, mm²/s</dt><dd>wall time from the slide's first task to its last in the run "
        "that finished it, other slides going on beside it; and its tissue by the work of all "
        "processes on it, so the speed of one process</dd>"
        "<dt>re-read, settled, truncated</dt><dd>wider windows read for nuclei that a tile cut; "
        "readings of a nucleus that gave way to a better one; pieces of what is larger than the "
        "largest window</dd></dl>"
    )


def _heading(name: str, kind: str = "") -> str:
    mark = f' class="{kind}"' if kind else ""
    return f'<th{mark}><button type="button">{escape(name)}</button></th>'


def _link(summary: Summary, row: SlideRow) -> str:
    title = f' title="{escape(row.path)}"' if row.path else ""
    if row.name not in summary.overviews:
        return f"<span{title}>{escape(row.name)}</span>"
    place = escape(f"slides/{quote(row.name)}/overview.png")
    return f'<a href="{place}"{title}>{escape(row.name)}</a>'


def _picture(row: SlideRow, pictures: Mapping[str, str]) -> str:
    if row.name not in pictures:
        return ""
    return f'<img alt="" src="{escape(pictures[row.name])}">'


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(escape(name) for name in names[:_SHOWN_NAMES])
    hidden = len(names) - _SHOWN_NAMES
    return f"{shown} and {hidden:,} more" if hidden > 0 else shown


def _more(items: Sequence[object]) -> str:
    hidden = len(items) - MOST_LISTED
    return f"<p>and {hidden:,} more: see the table below</p>" if hidden > 0 else ""
