"""What the headers of a TIFF slide say: vendor, channels, pixel size, objective."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import tiffslide

from wsiseg.slides.resolution import Claim, Verdict, judge

MAX_XML_CHARACTERS = 1 << 24
_RGB = ("red", "green", "blue")
_UNITS_UM = {
    "m": 1e6,
    "cm": 1e4,
    "mm": 1e3,
    "µm": 1.0,
    "μm": 1.0,
    "um": 1.0,
    "nm": 1e-3,
    "pm": 1e-6,
    "Å": 1e-4,
    "in": 25_400.0,
}
"""OME's names of length units (both micro signs); pixels and "reference frame" are none."""

_RESOLUTION_UNITS_UM = {2: 25_400.0, 3: 10_000.0, 4: 1_000.0, 5: 1.0}
"""ResolutionUnit of TIFF 6.0, section 3, and its later millimetre and micrometre."""


@dataclass(frozen=True, slots=True)
class TiffFacts:
    """The part of a slide's facts that comes from headers."""

    vendor: str
    channels: tuple[str, ...]
    objective: float | None
    verdict: Verdict


def read_tiff_facts(slide: tiffslide.TiffSlide, channels: int) -> TiffFacts:
    """Gather what the headers say.

    Parameters
    ----------
    slide
        The opened file.
    channels
        Channels of the last array axis.
    """
    file = slide.ts_tifffile
    series = file.series[0]
    ome = _ome(file.ome_metadata) if file.is_ome else _Ome()
    try:
        properties: Mapping[str, Any] = slide.properties
    except NotImplementedError:  # axes that tiffslide does not know; the tags still speak
        properties = {}
    objective = ome.objective or _positive(properties.get("tiffslide.objective-power"))
    claim = ome.claim or _vendor_claim(properties) or _tag_claim(series.keyframe)
    levels = []
    if claim is not None and claim.source == "tiff.XResolution":
        base = series.levels[0].keyframe.imagewidth
        for level in series.levels[1:]:
            stated = _tag_claim(level.keyframe)
            if stated is not None:
                levels.append((base / level.keyframe.imagewidth, stated.x))
    vendor = properties.get("tiffslide.vendor") or ("ome-tiff" if file.is_ome else "generic-tiff")
    return TiffFacts(
        str(vendor),
        _channel_names(series.keyframe.photometric.name, channels, ome.names),
        objective,
        judge(claim, objective, levels),
    )


@dataclass(frozen=True, slots=True)
class _Ome:
    claim: Claim | None = None
    objective: float | None = None
    names: tuple[str, ...] = ()


def _ome(text: str | None) -> _Ome:
    """What OME-XML says of its first image (schema 2016-06: Pixels, Channel, Objective)."""
    if not text or len(text) > MAX_XML_CHARACTERS:
        return _Ome()
    try:
        root = ElementTree.fromstring(text)  # noqa: S314 - expat bounds entity expansion
    except ElementTree.ParseError:
        return _Ome()
    image = root.find("{*}Image")
    pixels = image.find("{*}Pixels") if image is not None else None
    if image is None or pixels is None:
        return _Ome()
    x, y = _length_um(pixels, "PhysicalSizeX"), _length_um(pixels, "PhysicalSizeY")
    claim = None if x is None or y is None else Claim(x, y, "OME PhysicalSizeX")
    names = tuple(channel.get("Name") or "" for channel in pixels.findall("{*}Channel"))
    settings = image.find("{*}ObjectiveSettings")
    wanted = settings.get("ID") if settings is not None else None
    objective = None
    for candidate in root.iterfind("{*}Instrument/{*}Objective"):
        if wanted is not None and candidate.get("ID") == wanted:
            objective = _positive(candidate.get("NominalMagnification"))
    return _Ome(claim, objective, names)


def _length_um(pixels: ElementTree.Element, name: str) -> float | None:
    value = _positive(pixels.get(name))
    unit = _UNITS_UM.get(pixels.get(f"{name}Unit", "µm"))
    return None if value is None or unit is None else value * unit


def _vendor_claim(properties: Mapping[str, Any]) -> Claim | None:
    # tiffslide falls back to the TIFF tags by itself; only what it took from elsewhere is a
    # vendor's word.
    if "tiff.XResolution" in properties:
        return None
    x = _positive(properties.get("tiffslide.mpp-x"))
    y = _positive(properties.get("tiffslide.mpp-y"))
    if x is None or y is None:
        return None
    vendor = properties.get("tiffslide.vendor") or "tiff"
    return Claim(x, y, "aperio.MPP" if vendor == "aperio" else f"{vendor} pixel size")


def _tag_claim(page: Any) -> Claim | None:
    # Inches where the tag is absent.
    unit = _RESOLUTION_UNITS_UM.get(int(page.tags.valueof(296, default=2)))
    x, y = _rational(page.tags.valueof(282)), _rational(page.tags.valueof(283))
    if unit is None or x is None or y is None:
        return None
    return Claim(unit / x, unit / y, "tiff.XResolution")


def _rational(value: Any) -> float | None:
    if not isinstance(value, tuple) or len(value) != 2 or not value[1]:
        return None
    return _positive(value[0] / value[1])


def _positive(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and number > 0 else None


def _channel_names(photometric: str, channels: int, ome: tuple[str, ...]) -> tuple[str, ...]:
    if channels == 3 and photometric in ("RGB", "YCBCR"):
        return _RGB
    if len(ome) != channels:
        ome = ("",) * channels
    names: list[str] = []
    for i, name in enumerate(ome):
        # Two channels of one name could not be told apart.
        unique = name.strip() and name.strip() not in names
        names.append(name.strip() if unique else f"channel {i}")
    return tuple(names)
