"""What a slide's numbers rest on and what they do not say, from its ``report.json``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from wsiseg.summary.numbers import short

_BY_STAGE: Mapping[str, str] = {
    "open": "open the slide",
    "tissue": "find the tissue",
    "calibrate": "calibrate",
    "read": "read pixels",
    "predict": "predict",
    "decode": "make instances",
    "own": "settle tiles",
}


def limits(report: Mapping[str, Any]) -> list[str]:
    """Sentences on what the numbers of a slide cannot say."""
    model, stains = _table(report.get("model")), _stains(report)
    name = model.get("name") or "the model"
    trained = model.get("trained_on") or []
    learnt = (
        f"It learnt from {', '.join(map(str, trained))}; other tissues, stains and scanners "
        "may fare worse."
        if trained
        else "It is a fixed rule that learnt from no labelled nuclei."
    )
    found = [
        f"Nuclei are what {name} outlined: those it misses, merges or splits are in every number. "
        f"Look at the outlines. {learnt}",
        "Areas and densities are those of a section: nuclei are cut, so they look smaller than "
        "they are, and a thicker section holds more of them. Density hangs on what was taken "
        "for tissue.",
        "Intervals tell how places of this slide differ. They know nothing of other sections, "
        "patients, stainings or scanners.",
        "For research use only. Nothing here is a diagnosis or replaces a pathologist's reading.",
    ]
    if stains:
        vectors = stains.get("vectors") or "stain vectors not stated"
        found.insert(
            2,
            f"Optical densities depend on staining and scanner and are no concentrations. Stains "
            f"were told apart by vectors: {vectors}.",
        )
    licences = [
        f"{what}: {model[key]}"
        for what, key in (("weights", "licence"), ("data it learnt from", "data_licence"))
        if model.get(key)
    ]
    if licences:
        found.append(f"Licences of the model: {'; '.join(licences)}.")
    return found


def provenance_rows(report: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """Model, keys, stains, device, versions: name and text; empty text where not known."""
    model, resolution = _table(report.get("model")), _table(report.get("resolution"))
    stains, exports = _stains(report), _table(report.get("exports"))
    yield "Slide file", _text(report.get("slide"))
    yield "Fingerprint", _text(report.get("slide_fingerprint"))
    yield "Model", _text(model.get("name"))
    yield "Weights, sha256", _text(model.get("sha256"))
    yield "Learnt from", ", ".join(map(str, model.get("trained_on") or ()))
    yield "Licence", " · data: ".join(filter(None, map(_text, _licences(model))))
    yield "Device, runtime", ", ".join(filter(None, map(_text, _runtime(report, model))))
    yield "Segment key", _text(report.get("segment_key"))
    yield "Tissue", _text(report.get("tissue_method"))
    yield "Pixel size", _resolution(resolution)
    yield "Reader", _text(resolution.get("reader"))
    vectors = [
        f"{name} {_vector(stains[name])}"
        for name in ("haematoxylin", "eosin", "dab")
        if isinstance(stains.get(name), list)
    ]
    if vectors:
        yield "Stain vectors", f"{'; '.join(vectors)}; {_text(stains.get('vectors'))}"
        yield "Stain problem", _text(stains.get("problem"))
    yield "Features", ", ".join(map(str, _table(report.get("features")).get("sets") or ()))
    yield "Outputs", ", ".join(str(_table(one).get("file", name)) for name, one in exports.items())
    yield "Time", ", ".join(f"{stage} {taken}" for stage, taken in _times(report) if taken)
    yield "Speed", _speed(_table(report.get("speed")))
    yield "Settings of speed", _pace(_table(report.get("pace")))
    plugged = _table(report.get("plugins"))
    yield "Plug-ins", ", ".join(f"{what}: {origin}" for what, origin in plugged.items())
    versions = _table(report.get("versions"))
    yield "Versions", ", ".join(f"{name} {number}" for name, number in versions.items())


def _times(report: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """Seconds of work by stage, all processes together, and the wall time."""
    seconds = _table(report.get("seconds"))
    for part in ("prepare", "blocks"):
        for stage, taken in _table(seconds.get(part)).items():
            yield _BY_STAGE.get(stage, stage), _seconds(taken)
    yield "stitch", _seconds(seconds.get("stitch"))
    yield "measure", _seconds(seconds.get("measure"))
    exports = [_table(one).get("seconds") for one in _table(report.get("exports")).values()]
    yield "write outputs", _seconds(sum(s for s in exports if isinstance(s, int | float)))
    yield "in all, by the clock", _seconds(report.get("wall_seconds"))


def _speed(of: Mapping[str, Any]) -> str:
    """Throughput by the clock, and the stage that the others waited for."""
    rates = [
        f"{short(float(of[key]))} {unit} a second"
        for key, unit in (("mm2_per_second", "mm²"), ("megapixels_per_second", "megapixels"))
        if isinstance(of.get(key), int | float)
    ]
    most = of.get("bottleneck")
    return ", ".join(
        [*rates, *([f"most of the work: {_BY_STAGE.get(most, most)}"] if most else [])]
    )


def _pace(of: Mapping[str, Any]) -> str:
    """How windows were handed to the model; a range where it changed on the way."""
    parts = []
    for key, what in (
        ("threads", "threads a prediction"),
        ("batch", "windows at a time"),
        ("readers", "reading threads"),
    ):
        values = of.get(key)
        if isinstance(values, list) and values:
            parts.append(f"{what}: {'-'.join(map(str, sorted({values[0], values[-1]})))}")
    return ", ".join(parts)


def _licences(model: Mapping[str, Any]) -> tuple[object, object]:
    return model.get("licence"), model.get("data_licence")


def _runtime(report: Mapping[str, Any], model: Mapping[str, Any]) -> tuple[object, object]:
    return report.get("device"), model.get("runtime")


def _resolution(of: Mapping[str, Any]) -> str:
    level0, frame = _table(of.get("level0")), _table(of.get("frame"))
    sizes = [
        f"{what} {short(float(one['mpp_x']))} µm/px"
        for what, one in (("level 0", level0), ("segmented at", frame))
        if isinstance(one.get("mpp_x"), int | float)
    ]
    stated = of.get("mpp_stated")
    source = "stated by the user" if stated is not None else _text(of.get("mpp_source"))
    return ", ".join([*sizes, *([f"from {source}"] if source else [])])


def _stains(report: Mapping[str, Any]) -> Mapping[str, Any]:
    return _table(_table(report.get("features")).get("stains"))


def _vector(value: list[Any]) -> str:
    return " ".join(f"{part:.3f}" for part in value if isinstance(part, int | float))


def _seconds(value: object) -> str:
    return f"{short(float(value))} s" if isinstance(value, int | float) else ""


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
