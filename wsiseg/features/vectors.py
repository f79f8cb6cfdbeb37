"""Stain vectors that the user states."""

from __future__ import annotations

import math

import numpy as np

from wsiseg.errors import ConfigurationError
from wsiseg.stain import Counterstain, Stains, Vector, default_stains

_LEAST_ANGLE_DEG = 5.0


def stated_stains(
    vectors: tuple[Vector, Vector], kind: Counterstain | None, white: Vector
) -> Stains:
    """Stains of given vectors.

    Parameters
    ----------
    vectors
        Optical densities ``(red, green, blue)`` of haematoxylin and of the counterstain, of any
        length.
    kind
        What the counterstain is; ``None``: the one whose usual colour is nearer.
    white
        Intensity of unstained glass in 0..255 for red, green, blue.

    Raises
    ------
    ConfigurationError
        If a vector is not one of a stain, or the two are less than 5° apart.
    """
    first, second = (_unit(vector) for vector in vectors)
    if math.degrees(math.acos(min(1.0, float(np.dot(first, second))))) < _LEAST_ANGLE_DEG:
        raise ConfigurationError(
            f"the stain vectors {vectors[0]} and {vectors[1]} are less than "
            f"{_LEAST_ANGLE_DEG:g}° apart: two stains of one colour cannot be told apart"
        )
    if kind is None:
        eosin, dab = (np.dot(second, default_stains(k).counterstain) for k in ("eosin", "DAB"))
        kind = "DAB" if dab > eosin else "eosin"
    return Stains(first, second, kind, white)


def _unit(vector: Vector) -> Vector:
    length = math.sqrt(sum(v * v for v in vector))
    if not (math.isfinite(length) and length > 0 and min(vector) >= 0):
        raise ConfigurationError(
            f"{vector} is no stain vector: it takes three optical densities of red, green and "
            "blue, none below 0 and not all 0"
        )
    return vector[0] / length, vector[1] / length, vector[2] / length
