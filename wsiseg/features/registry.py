"""The columns of features: which there are on a slide, and what one means.

The definitions themselves are in :mod:`wsiseg.features.definitions`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from itertools import groupby

from wsiseg.errors import PluginError
from wsiseg.features.definitions import ALL_SETS, FEATURES, STAINS, Feature, FeatureSet
from wsiseg.features.plugged import describe_plugged, plugged_features
from wsiseg.plugins import plugins, warn_of

_LONGEST_NAME = 32
_BASIC_SHAPES = frozenset(
    {
        "area_um2",
        "perimeter_um",
        "major_axis_um",
        "minor_axis_um",
        "eccentricity",
        "orientation_rad",
        "circularity",
        "solidity",
    }
)

_PLAIN = {feature.name: feature for feature in FEATURES if "{" not in feature.name}
_PATTERNS = [
    (
        re.compile(f.name.replace("{stain}", f"({'|'.join(STAINS)})").replace("{channel}", "(.+)")),
        f,
    )
    for f in FEATURES
    if "{" in f.name
]


def describe(column: str) -> Feature | None:
    """What a column means; ``None`` if it is no feature of wsiseg or of a plug-in."""
    if column in _PLAIN:
        return _PLAIN[column]
    for pattern, feature in _PATTERNS:
        found = pattern.fullmatch(column)
        if found:
            text = feature.definition.replace("{stain}", found[1]).replace("{channel}", found[1])
            return replace(feature, name=column, definition=text)
    return describe_plugged(column)


def features_of(sets: Sequence[str] | None = None) -> list[Feature]:
    """The features of some sets, or of all that can be used; some names are patterns.

    Raises
    ------
    PluginError
        If a set that is named is of a plug-in that cannot be used.
    """
    found = [feature for feature in FEATURES if not sets or feature.set in sets]
    for name in plugins("features"):
        if name in ALL_SETS or (sets and name not in sets):
            continue
        try:
            found += plugged_features(name)
        except PluginError as error:
            if sets:
                raise
            warn_of(error)
    return found


def dictionary(columns: Iterable[str]) -> list[dict[str, str]]:
    """The data dictionary of some columns: the fields of :class:`Feature` as plain values."""
    found = (describe(column) for column in columns)
    return [asdict(feature) for feature in found if feature is not None]


def shape_columns() -> tuple[str, ...]:
    """Columns of the set ``shape``, which are measured with the outlines."""
    return tuple(feature.name for feature in FEATURES if feature.set == "shape")


def columns_of(
    sets: Sequence[FeatureSet], *, stains: Sequence[str], channels: Sequence[str], classes: int
) -> tuple[str, ...]:
    """Columns that some sets make on a slide besides the shapes, in the order of the registry.

    Parameters
    ----------
    sets
        The sets.
    stains
        Plain names of the slide's stains; none for fluorescence.
    channels
        Plain names of the channels; none where there are stains.
    classes
        Number of classes of nuclei.
    """
    absent = set()
    if not stains:
        absent.add("nucleus_od_sum_mean")
    if classes < 2:
        absent.add("other_class_share_50_um")
    wanted = [
        feature.name
        for feature in FEATURES
        if feature.set in sets and feature.set != "shape" and feature.name not in absent
    ]
    names: list[str] = []
    for placeholder, group in groupby(wanted, _placeholder):
        patterns = list(group)
        for filling in {"": ("",), "{stain}": stains, "{channel}": channels}[placeholder]:
            names += [pattern.replace(placeholder, filling) for pattern in patterns]
    return tuple(names)


def _placeholder(name: str) -> str:
    found = re.search(r"\{\w+\}", name)
    return found[0] if found else ""


def plain_names(channels: Sequence[str]) -> tuple[str, ...]:
    """Names of channels for columns: small letters, digits and single ``_``, all different.

    A name without any such character becomes ``channel_N``, counted from 1.
    """
    names: list[str] = []
    for number, channel in enumerate(channels, start=1):
        plain = re.sub(r"[^a-z0-9]+", "_", channel.casefold()).strip("_")
        plain = plain[:_LONGEST_NAME].strip("_") or f"channel_{number}"
        while plain in names:
            plain = f"{plain}_{number}"
        names.append(plain)
    return tuple(names)


def measurements(columns: Sequence[str]) -> list[str]:
    """The columns worth their bytes in a file of outlines: the basic shapes, and the means of
    stains or channels in the nucleus."""
    return [
        name
        for name in columns
        if name in _BASIC_SHAPES or re.fullmatch(r"nucleus_.+_mean", name) is not None
    ]
