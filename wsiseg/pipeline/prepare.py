"""Before the first block: open the slide, find tissue, calibrate the model, make the plan."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from wsiseg.errors import (
    ChannelError,
    ConfigurationError,
    ModelError,
    ResultMismatchError,
    StoreError,
)
from wsiseg.export.regions import read_regions
from wsiseg.geometry import Frame
from wsiseg.job import TISSUE_METHODS, Job, SlideEntry
from wsiseg.models.device import require_device
from wsiseg.models.segmenter import ModelSpec, ReadsStains, Segmenter, Statistics
from wsiseg.models.semantic.files import BUNDLED
from wsiseg.models.zoo import (
    is_plugged,
    load_segmenter,
    settle_device,
    without_normalisation,
)
from wsiseg.pipeline.appearance import measure_appearance
from wsiseg.pipeline.plan import (
    SlidePlan,
    choose_frame,
    key_of,
    make_grid,
    read_plan,
    segment_facts,
    write_plan,
)
from wsiseg.pipeline.quality import SlideQuality, measure_quality, write_quality
from wsiseg.plugins import origins
from wsiseg.quality.shift import shifts
from wsiseg.slides.elsewhere import Copy
from wsiseg.slides.probe import READERS
from wsiseg.slides.reader import Pixels
from wsiseg.slides.slide import Slide, open_slide
from wsiseg.staging import staged_copy
from wsiseg.stain import Counterstain
from wsiseg.store.folders import SlideFolder
from wsiseg.store.tissue import read_tissue, write_tissue
from wsiseg.tiling import TileGrid
from wsiseg.tissue import (
    TissueMask,
    find_tissue,
    network_facts,
    require_commercial_tissue,
    tissue_by_network,
    tissue_from_regions,
)

SAMPLE_PX = 512
SAMPLES = 24
"""The model is calibrated on at most this many windows of ``SAMPLE_PX`` frame pixels."""

_COUNTERSTAINS: Mapping[str, Counterstain] = {"HE": "eosin", "HDAB": "DAB"}


@dataclass(frozen=True, slots=True)
class Prepared:
    """A slide that is ready to be segmented."""

    plan: SlidePlan
    tissue: TissueMask
    seconds: Mapping[str, float]
    quality: SlideQuality | None = None


def prepare(entry: SlideEntry, job: Job, copy: Copy | None = None) -> Prepared:
    """Plan a slide; ``entry`` is settled with the job, ``copy`` is read in the slide's place.

    Raises
    ------
    SlideError, ModelError, ConfigurationError
        If the slide, the model and the job do not fit each other.
    """
    begin = time.perf_counter()
    device = settle_device(job.model, job.device)
    require_device(device)
    segmenter = load_segmenter(job.model, device)
    with open_slide(entry.path, reader=job.reader, mpp=entry.mpp, copy=copy) as slide:
        channels, grid, facts = lay_out(slide, segmenter, entry, job)
        frame = grid.frame
        opened = time.perf_counter()
        tissue = make_tissue(slide, entry, job, device)
        found = time.perf_counter()
        with ThreadPoolExecutor(1, thread_name_prefix="wsiseg-quality") as beside:
            looked = beside.submit(measure_quality, slide, tissue, _kind(entry))
            if job.gate:
                tissue = _gated(tissue, looked.result(), job)
            # Without a gate nothing hangs on quality, so this need not wait for it.
            samples = read_samples(slide, frame, tissue, channels)
            statistics = _calibrate(segmenter, samples, entry)
            appearance = measure_appearance(samples, slide.facts.illumination)
            quality = looked.result()
        plan = SlidePlan(
            path=entry.place,
            reader=slide.facts.reader,
            level=slide.source(frame).level,
            reduction=slide.source(frame).reduction,
            decoder=slide.facts.decoder,
            stated_mpp=entry.mpp,
            channels=channels,
            origin_px=(slide.facts.bounds.x0, slide.facts.bounds.y0)
            if slide.facts.bounds
            else (0, 0),
            level0=slide.level0,
            grid=grid,
            tiles=tuple(
                (t.column, t.row) for t in grid.tiles() if tissue.meets(t.core, grid.frame)
            ),
            model=job.model,
            statistics=statistics,
            segment=facts,
            damage=tuple(damage.plain() for damage in slide.damage),
            warnings=(
                *slide.facts.problems,
                *tissue.warnings,
                *(quality.warnings() if quality is not None else ()),
                *shifts(appearance, segmenter.spec.appearance),
                *segmenter.remarks(statistics),
            ),
            mpp_source=slide.facts.mpp_source,
            appearance=appearance,
            device=device,
            batch=job.batch,
            readers=job.readers,
        )
    seconds = {
        "open": opened - begin,
        "tissue": found - opened,
        "calibrate": time.perf_counter() - found,
    }
    return Prepared(plan, tissue, seconds, quality)


def prepare_in(folder: SlideFolder, entry: SlideEntry, job: Job, *, new: bool) -> Prepared:
    """Plan a slide in its place in a run directory, or take up the plan that lies there.

    ``new`` discards what was segmented with other settings, in place of refusing.

    Raises
    ------
    ResultMismatchError
        If what lies there was segmented with other settings.
    """
    plan = known_plan(folder)
    if plan is None:
        prepared = prepare(entry, job, staged_copy(folder, entry.place))
    else:
        asked = asked_facts(entry, job, load_segmenter(job.model, job.device))
        if key_of(asked) == plan.segment_key:
            # The same model by another name or in another place, the one that is there.
            asked_now = replace(plan, model=job.model, batch=job.batch, readers=job.readers)
            if asked_now != plan:
                plan = asked_now
                write_plan(folder.plan, plan)
            try:
                return Prepared(plan, read_tissue(folder.tissue, plan.segment_key), {})
            except StoreError:
                prepared = prepare(entry, job, staged_copy(folder, entry.place))
        elif new:
            prepared = prepare(entry, job, staged_copy(folder, entry.place))
            shutil.rmtree(folder.root)
        else:
            settings = ", ".join(difference(plan.segment, asked))
            raise ResultMismatchError(
                f"{folder.root} holds a segmentation made with other settings ({settings}); "
                "choose another output folder, or pass --new to segment the slide again"
            )
    write_tissue(folder.tissue, prepared.tissue, prepared.plan.segment_key)
    if prepared.quality is not None:
        write_quality(folder.quality, prepared.quality, prepared.plan.level0)
    # Last: a plan says that all the rest of the preparation is there.
    write_plan(folder.plan, prepared.plan)
    return prepared


def known_plan(folder: SlideFolder) -> SlidePlan | None:
    """The plan that lies there, if it can be read: blocks carry their own key."""
    try:
        return read_plan(folder.plan)
    except StoreError:
        return None


def asked_facts(entry: SlideEntry, job: Job, segmenter: Segmenter) -> dict[str, Any]:
    """What the segmentation that is asked for depends on, without doing any of it.

    ``segmenter`` is the job's.
    """
    with open_slide(entry.path, reader=job.reader, mpp=entry.mpp) as slide:
        return lay_out(slide, segmenter, entry, job)[2]


def choose_channels(slide: Slide, spec: ModelSpec, channel: str | None) -> tuple[int, ...]:
    """The channels that the model reads.

    Raises
    ------
    ModelError
        If the model is meant for the other illumination.
    ChannelError
        If a channel must be named, or is named where there is none to choose.
    """
    names = slide.facts.channels
    if slide.facts.illumination != spec.illumination:
        raise ModelError(
            f"{slide.name} is a {slide.facts.illumination} slide (channels: {', '.join(names)}), "
            f"but {spec.name} is meant for {spec.illumination}; "
            + (
                "choose --model nuclei-fluo and name the nuclear channel, e.g. "
                f"--channel {names[-1]}"
                if slide.facts.illumination == "fluorescence"
                else "choose --model nuclei-he"
            )
        )
    if spec.channels == 3:
        if channel is not None:
            raise ChannelError(f"{slide.name}: {spec.name} reads colour, --channel does not apply")
        if len(names) < 3:
            raise ChannelError(
                f"{slide.name} has the channels {', '.join(names)}, but {spec.name} reads RGB"
            )
        return (0, 1, 2)
    if channel is None and len(names) > 1:
        raise ChannelError(
            f"{slide.name} has {len(names)} channels ({', '.join(names)}); name the one that shows "
            "nuclei with --channel, by name or by number from 1"
        )
    return slide.channel_indices([channel]) if channel is not None else (0,)


def make_tissue(slide: Slide, entry: SlideEntry, job: Job, device: str = "cpu") -> TissueMask:
    """The tissue mask that the job asks for; ``device`` is settled."""
    network = _tissue_network(entry)
    if network is not None:
        return tissue_by_network(slide, network, job.include, job.exclude, device)
    if entry.tissue in TISSUE_METHODS:
        return find_tissue(slide, "none" if entry.tissue == "none" else "otsu")
    regions = read_regions(Path(str(entry.tissue)))
    return tissue_from_regions(slide, regions, job.include, job.exclude)


def read_samples(
    slide: Slide, frame: Frame, tissue: TissueMask, channels: tuple[int, ...]
) -> list[Pixels]:
    """Windows of tissue on a fixed grid of the frame, whatever the tiles: ``[y, x, c]`` each."""
    shares = tissue.shares(frame, SAMPLE_PX).tolist()
    split = zip(frame.box.split(SAMPLE_PX), shares, strict=True)
    cells = [cell for cell, share in split if share > 0.5]
    if not cells:
        cells = [cell for cell in frame.box.split(SAMPLE_PX) if tissue.meets(cell, frame)]
    chosen = np.unique(np.linspace(0, len(cells) - 1, min(SAMPLES, len(cells))).round().astype(int))
    return [slide.read(cells[i], frame, channels) for i in chosen] if cells else []


def _kind(entry: SlideEntry) -> Counterstain | None:
    return _COUNTERSTAINS[entry.stain] if entry.stain is not None else None


def _gated(tissue: TissueMask, quality: SlideQuality | None, job: Job) -> TissueMask:
    """The tissue without the fields that the job leaves out."""
    if quality is None:
        return tissue
    return replace(quality.gated(tissue, job.gate), classes=tissue.classes)


def _calibrate(segmenter: Segmenter, samples: list[Pixels], entry: SlideEntry) -> Statistics:
    if entry.stain is not None and isinstance(segmenter, ReadsStains):
        return segmenter.calibrate_stained(samples, _COUNTERSTAINS[entry.stain])
    return segmenter.calibrate(samples)


def lay_out(
    slide: Slide, segmenter: Segmenter, entry: SlideEntry, job: Job
) -> tuple[tuple[int, ...], TileGrid, dict[str, Any]]:
    """Channels, lattice and what the segmentation depends on: all that needs no pixels.

    Raises
    ------
    SlideError, ModelError, ConfigurationError
        If the slide, the model and the job do not fit each other.
    """
    spec = segmenter.spec
    channels = choose_channels(slide, spec, entry.channel)
    grid = make_grid(choose_frame(slide.level0, spec, slide.name), spec, job.core)
    facts = segment_facts(
        fingerprint=slide.fingerprint(),
        level0=slide.level0,
        source=_source(slide, grid.frame),
        channels=channels,
        spec=spec,
        grid=grid,
        tissue=_tissue_facts(entry, job, spec.runtime),
    )
    if job.gate:
        facts["gate"] = list(job.gate)
    if job.batch is not None and not spec.exact:
        facts["batch"] = job.batch
    if entry.stain is not None and isinstance(segmenter, ReadsStains):
        facts["stain"] = entry.stain
    plugged = _plugged(slide, job)
    if plugged:
        facts["plugins"] = plugged
    return channels, grid, facts


def _source(slide: Slide, frame: Frame) -> tuple[str | int, ...]:
    """Reader, level and, where it is not 1, the factor by which the level is decoded smaller."""
    source = slide.source(frame)
    smaller = (source.reduction,) if source.reduction > 1 else ()
    return slide.facts.reader, source.level, *smaller


def _plugged(slide: Slide, job: Job) -> dict[str, str]:
    """Packages and versions of the plug-ins that a segmentation hangs on."""
    model, _ = without_normalisation(job.model)
    segmenters = origins("segmenters", [model]) if is_plugged(model) else {}
    readers = origins("readers", {slide.facts.reader} - READERS.keys())
    found = {"segmenter": segmenters, "reader": readers}
    return {kind: origin for kind, named in found.items() for origin in named.values()}


def _tissue_network(entry: SlideEntry) -> str | None:
    """The tissue network that is asked for, if one is."""
    named = str(entry.tissue)
    if named in BUNDLED or (named not in TISSUE_METHODS and Path(named).is_dir()):
        return named
    return None


def _tissue_facts(entry: SlideEntry, job: Job, runtime: str) -> dict[str, Any]:
    network = _tissue_network(entry)
    if network is not None:
        if job.commercial:
            require_commercial_tissue(network)
        device = "cuda" if runtime.startswith("torch-cuda") else "cpu"
        return network_facts(network, job.include, job.exclude, device)
    if entry.tissue in TISSUE_METHODS:
        return {"method": "none" if entry.tissue == "none" else "auto"}
    path = Path(str(entry.tissue))
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"cannot read the tissue file {path}: {error.strerror or error}"
        ) from error
    return {
        "method": "regions",
        "digest": hashlib.blake2b(content, digest_size=16).hexdigest(),
        "include": list(job.include),
        "exclude": list(job.exclude),
    }


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[str, ...]:
    """The settings in which two segmentations differ, by name."""
    names = [n for n in {**old, **new} if key_of({"": old.get(n)}) != key_of({"": new.get(n)})]
    if "model" in names and _same_but_for_device(old, new):
        # Whether the lattice counts hangs on the device too.
        return tuple("device" if n == "model" else n for n in names if n != "lattice")
    return tuple(names)


def _same_but_for_device(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    follow = {"runtime": "", "exact": ""}
    one, two = ({**facts.get("model", {}), **follow} for facts in (old, new))
    return key_of(one) == key_of(two)
