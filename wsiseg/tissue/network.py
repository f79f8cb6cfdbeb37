"""Tissue by a network that tells classes apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsiseg.errors import ConfigurationError, ModelError
from wsiseg.geometry import Box, Frame
from wsiseg.models.licence import require_commercial
from wsiseg.models.semantic.files import SemanticClass, SemanticFile, SemanticFolder, find_semantic
from wsiseg.models.semantic.predict import class_frame, class_rows, network_frame
from wsiseg.models.semantic.running import ClassRuntime, open_runtime
from wsiseg.slides.slide import Slide
from wsiseg.tissue.areas import Mask, grown, small_pieces, without_small_holes
from wsiseg.tissue.class_map import ClassMap
from wsiseg.tissue.mask import TissueCode, TissueMask, mask_frame


def require_commercial_tissue(name: str) -> None:
    """Refuse a network that may not be used commercially.

    Raises
    ------
    ModelError
        If there is no such network, or its weights or training data forbid it.
    """
    require_commercial(find_semantic(name).described)


def network_facts(
    name: str, include: Sequence[str], exclude: Sequence[str], device: str
) -> dict[str, Any]:
    """Everything that the tissue found by a network depends on besides the slide.

    Raises
    ------
    ModelError
        If there is no such network.
    ConfigurationError
        If it has no class of a name.
    """
    folder = find_semantic(name)
    chosen_classes(folder.described, include, exclude)
    return {
        "method": "network",
        "digest": folder.digest,
        "runtime": open_runtime(folder, device).identity,
        "include": list(include),
        "exclude": list(exclude),
    }


def tissue_by_network(
    slide: Slide,
    name: str,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    device: str = "cpu",
) -> TissueMask:
    """Tissue as a network sees it, with the map of its classes.

    Parameters
    ----------
    slide
        An open brightfield slide. It is read window by window.
    name
        A network that comes with the package, or a folder.
    include, exclude
        Classes that count as tissue in place of those the network says, and that do not.
    device
        Settled, see :func:`wsiseg.models.device.choose_device`.

    Raises
    ------
    ModelError
        If there is no such network, or it is not for such slides.
    ResolutionError
        If the slide is too coarse for it.
    ConfigurationError
        If it has no class of a name.
    """
    folder = find_semantic(name)
    described = folder.described
    require_suited(slide, described)
    classes = chosen_classes(described, include, exclude)
    seen = network_frame(slide.level0, described, slide.name)
    runtime = open_runtime(folder, device)
    found = ClassMap.collect(
        class_rows(_reader(slide), seen, described, runtime),
        class_frame(seen, described),
        classes,
        _origin(folder, runtime),
    )
    return mask_of(found, slide.level0, described)


def require_suited(slide: Slide, described: SemanticFile) -> None:
    """Refuse slides that a network is not meant for.

    Raises
    ------
    ModelError
        If the slide is of fluorescence or has no 8-bit colour.
    """
    facts = slide.facts
    if facts.illumination != described.illumination:
        raise ModelError(
            f"{slide.name} is a {facts.illumination} slide, but the tissue network "
            f"{described.name} is meant for {described.illumination}; use --tissue classical"
        )
    if len(facts.channels) < 3 or facts.dtype != "uint8":
        raise ModelError(
            f"{slide.name} has {len(facts.channels)} channels of {facts.dtype}, but the tissue "
            f"network {described.name} needs 8-bit colour; use --tissue classical"
        )


def chosen_classes(
    described: SemanticFile, include: Sequence[str], exclude: Sequence[str]
) -> tuple[SemanticClass, ...]:
    """The classes of a network, tissue being those that the user says, if any.

    Raises
    ------
    ConfigurationError
        If it has no class of a name, or none is left.
    """
    known = {entry.name.casefold(): entry.name for entry in described.classes}
    for wanted in (*include, *exclude):
        if wanted.casefold() not in known:
            raise ConfigurationError(
                f"the tissue network {described.name} has no class {wanted!r}; it has "
                f"{', '.join(known.values())}"
            )
    taken = {wanted.casefold() for wanted in include}
    dropped = {wanted.casefold() for wanted in exclude}
    found = tuple(_counted(entry, taken, dropped) for entry in described.classes)
    if not any(entry.counts == "tissue" for entry in found):
        raise ConfigurationError(
            f"no class of the tissue network {described.name} is left to count as tissue"
        )
    return found


def mask_of(found: ClassMap, level0: Frame, described: SemanticFile) -> TissueMask:
    """The mask of the tissue at its own resolution: a pixel is tissue where at least half of the
    map's pixels under it are, or where the map is coarser the one under its middle is."""
    frame = mask_frame(level0)
    is_tissue = np.array([entry.counts == "tissue" for entry in found.classes], np.bool_)
    tissue = _reduced(found, frame, is_tissue)
    pixel, tidying = frame.mpp.pixel_area_um2, described.tidying
    if tidying.filled_hole_um2:
        tissue = without_small_holes(tissue, tidying.filled_hole_um2 / pixel)
    small = small_pieces(tissue, tidying.least_piece_um2 / pixel)
    if np.count_nonzero(small) > 0.5 * np.count_nonzero(tissue):
        # Scattered cells, as on a smear: small pieces are all there is.
        small[:] = False
    tissue &= ~small
    tissue = grown(tissue, round(tidying.margin_um / frame.mpp.mean))
    codes = np.full(frame.box.shape, TissueCode.BACKGROUND, np.uint8)
    codes[small] = TissueCode.TOO_SMALL
    codes[tissue] = TissueCode.TISSUE
    mask = TissueMask(codes, frame, f"network {described.name}", (), found)
    return replace(mask, warnings=_warnings(mask))


def _counted(entry: SemanticClass, taken: set[str], dropped: set[str]) -> SemanticClass:
    name, counts = entry.name.casefold(), entry.counts
    if name in dropped or (taken and name not in taken and counts == "tissue"):
        counts = "other"
    elif name in taken:
        counts = "tissue"
    return entry.model_copy(update={"counts": counts})


def _reader(slide: Slide) -> Any:
    colour = (0, 1, 2) if len(slide.facts.channels) > 3 else None

    def read(box: Box, frame: Frame) -> Any:
        return slide.read(box, frame, colour)

    return read


def _origin(folder: SemanticFolder, runtime: ClassRuntime) -> dict[str, Any]:
    described = folder.described
    return {
        "name": described.name,
        "digest": folder.digest,
        "runtime": runtime.identity,
        "licence": described.licence,
        "data_licence": described.data_licence,
        "trained_on": list(described.trained_on),
    }


def _reduced(found: ClassMap, frame: Frame, is_tissue: NDArray[np.bool_]) -> Mask:
    """Tissue of the map in another frame of the slide."""
    fx, fy = found.frame.scale_to(frame)
    height, width = frame.box.shape
    if fx > 1 or fy > 1:
        return _nearest(found, frame, is_tissue)
    columns = _places(found.frame.size.width, fx, width)
    rows = _places(found.frame.size.height, fy, height)
    starts = np.flatnonzero(np.diff(columns, prepend=-1))
    inside, all_ = np.zeros((height, width), np.int64), np.zeros((height, width), np.int64)
    across = np.diff(np.append(starts, len(columns)))
    for strip in found.frame.box.split(512):
        if strip.x0:
            continue
        whole = Box(0, strip.y0, found.frame.size.width, strip.y1)
        shares = np.add.reduceat(is_tissue[found.read(whole)].astype(np.int64), starts, axis=1)
        for number, row in enumerate(range(whole.y0, whole.y1)):
            inside[rows[row], columns[starts]] += shares[number]
            all_[rows[row], columns[starts]] += across
    tissue: Mask = (2 * inside >= all_) & (all_ > 0)
    return tissue


def _places(count: int, factor: float, limit: int) -> NDArray[np.int64]:
    """The pixel of the other frame under the middle of every pixel of an axis."""
    found = np.floor((np.arange(count) + 0.5) * factor).astype(np.int64)
    capped: NDArray[np.int64] = np.minimum(found, limit - 1)
    return capped


def _nearest(found: ClassMap, frame: Frame, is_tissue: NDArray[np.bool_]) -> Mask:
    fx, fy = frame.scale_to(found.frame)
    height, width = frame.box.shape
    columns = _places(width, fx, found.frame.size.width)
    rows = _places(height, fy, found.frame.size.height)
    tissue: Mask = is_tissue[found.read(found.frame.box)[np.ix_(rows, columns)]]
    return tissue


def _warnings(mask: TissueMask) -> tuple[str, ...]:
    if mask.area_mm2() == 0:
        return (f"the {mask.method} found no tissue; look at the slide, or use --tissue classical",)
    return ()
