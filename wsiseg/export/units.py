"""Units and readable names of feature columns.

The registry of features knows those of wsiseg; others are read from the column's name.
"""

from __future__ import annotations

from wsiseg.features.registry import describe

_UNITS = {
    "um": "µm",
    "um2": "µm^2",
    "um3": "µm^3",
    "px": "px",
    "px2": "px^2",
    "mm": "mm",
    "mm2": "mm^2",
    "rad": "rad",
    "deg": "°",
}
_COMPARTMENTS = ("nucleus", "ring")
_ACRONYMS = {"od": "OD", "dab": "DAB", "iqr": "IQR"}


def unit_of(column: str) -> str:
    """The unit of a column, ``""`` for a bare number.

    ``area_um2`` is in ``µm^2``, ``density_per_mm2`` in ``per mm^2``; ``neighbours_50_um`` is a
    count.
    """
    known = describe(column)
    return known.unit if known is not None else _ending(column)


def _ending(column: str) -> str:
    """The unit that the name of a column ends in."""
    words = column.split("_")
    if len(words) < 2 or words[-1] not in _UNITS:
        return ""
    unit = _UNITS[words[-1]]
    return f"per {unit}" if len(words) > 2 and words[-2] == "per" else unit


def measurement_name(column: str) -> str:
    """The name of a column in the style of QuPath's own measurements of nuclei.

    The compartment first, the unit last: ``area_um2`` becomes ``Nucleus: Area µm^2``,
    ``ring_dab_od_mean`` becomes ``Ring: DAB OD mean``.
    """
    words = column.split("_")
    unit = _ending(column)
    if unit:
        words = words[: -2 if unit.startswith("per ") else -1]
    compartment = words.pop(0) if len(words) > 1 and words[0] in _COMPARTMENTS else "nucleus"
    shown = [_ACRONYMS.get(word, word) for word in words]
    name = " ".join(shown)
    return f"{compartment.capitalize()}: {name[:1].upper()}{name[1:]} {unit}".rstrip()
