"""Sets of features that other packages add, as entry points of the group ``wsiseg.features``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from wsiseg.errors import ConfigurationError, PluginError
from wsiseg.features.definitions import ALL_SETS, FEATURES, VERSIONS, Feature
from wsiseg.plugins import calling, load_plugin, plugins

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from wsiseg.features.measure import Neighbourhood, Surroundings

MAX_MARGIN_UM = 500.0
"""Cells and pixels farther than this from a cell are not at hand."""

_TAKEN: tuple[str, ...] = (
    "id",
    "uuid",
    "geometry",
    "centroid_x_px",
    "centroid_y_px",
    "class",
    "probability",
    "truncated",
    "bbox",
)
"""Columns of every table."""


class FeaturePlugin(Protocol):
    """What the entry point of a set of features names: a module, say.

    The set is called as the entry point is. A change of what its columns hold needs another
    version of its package, for cells are measured anew when that changes.
    """

    FEATURES: tuple[Feature, ...]
    """Its columns in order. Names begin with the set's and ``_`` (``-`` as ``_``), and end in
    their unit."""

    MARGIN_UM: float
    """How far around cells others must be known, at most :data:`MAX_MARGIN_UM`."""

    PIXELS: bool
    """Whether it reads the slide's pixels."""

    def measure(
        self, around: Neighbourhood, place: Surroundings
    ) -> Mapping[str, NDArray[np.float32]]:
        """Measure the cells ``around.own``.

        The answer for a cell depends only on what lies within ``MARGIN_UM``, for which others
        are measured with it changes from run to run. ``place.read`` gives the pixels
        ``[y, x, c]`` of a box of ``place.info.frame`` where ``PIXELS`` is true: RGB of a
        brightfield slide, else all channels.

        Returns
        -------
        float32 ``[m]`` for every column; NaN where it is undefined.
        """
        ...


@dataclass(frozen=True, slots=True)
class PluggedColumns:
    """A set of a plug-in in a plan: what it is called, makes and needs."""

    name: str
    columns: tuple[str, ...]
    pixels: bool
    margin_um: float


def set_names() -> tuple[str, ...]:
    """Names of all sets of features, those of plug-ins last."""
    return (*ALL_SETS, *(name for name in plugins("features") if name not in ALL_SETS))


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Those sets of features that are known, in their usual order, once each."""
    asked = set(names)
    # Looking for plug-ins takes longer than most else that is done with names.
    known = ALL_SETS if asked.issubset(ALL_SETS) else set_names()
    return tuple(name for name in known if name in asked)


def set_version(name: str) -> int | str:
    """What changes whenever the columns of a set hold something else."""
    known = {str(own): version for own, version in VERSIONS.items()}
    return known[name] if name in known else plugins("features")[name].origin


def plugged_sets(names: Iterable[str]) -> tuple[PluggedColumns, ...]:
    """Those of the named sets that are plug-ins', in order.

    Raises
    ------
    PluginError
        If one of them cannot be used.
    """
    return tuple(_columns(name) for name in in_order(names) if name not in ALL_SETS)


def plugged_features(name: str) -> tuple[Feature, ...]:
    """The features of a plug-in's set.

    Raises
    ------
    PluginError
        If the plug-in cannot be used, or breaks the contract.
    """
    found: FeaturePlugin = load_plugin("features", name)
    with calling(plugins("features")[name]):
        check_features(name, found)
    return tuple(found.FEATURES)


def describe_plugged(column: str) -> Feature | None:
    """What a column of a plug-in's set means; ``None`` if it is of none that can be used."""
    for name in plugins("features"):
        if name not in ALL_SETS and column.startswith(_prefix(name)):
            try:
                features = plugged_features(name)
            except PluginError:
                continue
            return next((feature for feature in features if feature.name == column), None)
    return None


def measure_plugged(
    one: PluggedColumns, around: Neighbourhood, place: Surroundings
) -> dict[str, NDArray[np.float32]]:
    """Measure cells with the set of a plug-in.

    Raises
    ------
    PluginError
        If the plug-in fails, or gives other columns than it declared.
    """
    found: FeaturePlugin = load_plugin("features", one.name)
    plugin = plugins("features")[one.name]
    with calling(plugin):
        columns = dict(found.measure(around, place))
        check_columns(columns, one.columns, around.own.stop - around.own.start)
    return columns


def check_columns(
    columns: Mapping[str, NDArray[np.float32]], names: Sequence[str], count: int
) -> None:
    """Refuse columns other than declared.

    Raises
    ------
    ConfigurationError
        If names, types or lengths are not as they must be.
    """
    if sorted(columns) != sorted(names):
        raise ConfigurationError(f"it gave the columns {sorted(columns)}, not {sorted(names)}")
    for name, values in columns.items():
        if values.dtype != np.float32 or values.shape != (count,):
            raise ConfigurationError(
                f"its column {name} is {values.dtype} of {values.shape}, not float32 of ({count},)"
            )


def check_features(name: str, found: FeaturePlugin) -> PluggedColumns:
    """What a set of that name makes and needs.

    Raises
    ------
    ValueError
        If its features or its margin are not as they must be.
    """
    features, margin = tuple(found.FEATURES), float(found.MARGIN_UM)
    _check(name, features)
    if not 0 <= margin <= MAX_MARGIN_UM:
        raise ValueError(f"its MARGIN_UM is {margin:g}, not within 0..{MAX_MARGIN_UM:g}")
    columns = tuple(feature.name for feature in features)
    return PluggedColumns(name, columns, bool(found.PIXELS), margin)


def _columns(name: str) -> PluggedColumns:
    found: FeaturePlugin = load_plugin("features", name)
    with calling(plugins("features")[name]):
        return check_features(name, found)


def _prefix(name: str) -> str:
    return f"{name.replace('-', '_')}_"


def _check(name: str, features: Sequence[Feature]) -> None:
    prefix = _prefix(name)
    own = (*_TAKEN, *(feature.name for feature in FEATURES))
    if any(column.startswith(prefix) for column in own):
        raise ValueError(f"columns of wsiseg's own begin with {prefix}; call the set otherwise")
    if not features:
        raise ValueError("it has no FEATURES")
    names = [feature.name for feature in features]
    for feature in features:
        if feature.set != name or not feature.name.startswith(prefix):
            raise ValueError(f"its feature {feature.name} is not of the set {name} by its name")
        if names.count(feature.name) > 1 or not feature.definition:
            raise ValueError(f"its feature {feature.name} is there twice or not defined")
