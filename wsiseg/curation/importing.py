"""Take edits made in QuPath into a run directory."""

from __future__ import annotations

import datetime
import hashlib
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import shapely

from wsiseg.curation.edits import KINDS, Edits, Kind, find_edits
from wsiseg.errors import ConfigurationError
from wsiseg.export.regions import read_regions
from wsiseg.pipeline.plan import read_plan
from wsiseg.store.cells import StoredCells
from wsiseg.store.edits import SCHEMA, edits_file, read_edits, write_edits
from wsiseg.store.folders import RunFolder, read_manifest


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import found.

    Attributes
    ----------
    slide, annotator
        Whose.
    edits
        The edits.
    replaced
        Whether earlier edits of the same annotator made way.
    """

    slide: str
    annotator: str
    edits: Edits
    replaced: bool


def import_edits(
    out: Path, path: Path, annotator: str, *, slide: str | None = None, partial: bool = False
) -> Imported:
    """Compare a GeoJSON that QuPath exported with a run's slide and keep what was changed.

    Parameters
    ----------
    out
        The run directory.
    path
        The edited objects.
    annotator
        Who edited; one set of edits is kept for each annotator and slide.
    slide
        Name of the slide in the run; ``None``: the only one.
    partial
        The file holds some of the objects only: those that are not in it were not deleted.

    Raises
    ------
    WsisegError
        If the slide or the file cannot be used, see :func:`wsiseg.curation.edits.find_edits`.
    """
    run = RunFolder(out)
    folder = run.slide(finished_slide(run, slide))
    source = StoredCells(folder.cells)
    replaced = edits_file(folder, annotator).exists()
    edits = find_edits(source, read_regions(path), partial=partial)
    about = {
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "imported": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "partial": partial,
        "segment_key": read_plan(folder.plan).segment_key,
        "known": edits.known,
        "confirmed": edits.confirmed,
        "counts": {kind: edits.count(kind) for kind in KINDS},
    }
    write_edits(folder, annotator, _table(edits), about)
    return Imported(folder.name, annotator, edits, replaced)


def class_labels(out: Path, slide: str, annotators: tuple[str, ...] = ()) -> dict[str, str]:
    """The classes that annotators gave to segmented nuclei: class by UUID.

    Where annotators differ, the nucleus counts as unlabelled.

    Parameters
    ----------
    annotators
        Whose edits count; all, where empty.

    Raises
    ------
    ConfigurationError
        If an annotator named has no edits on the slide.
    """
    kept = read_edits(RunFolder(out).slide(slide))
    unknown = sorted(set(annotators) - set(kept))
    if unknown:
        raise ConfigurationError(
            f"{slide} has no edits by {', '.join(unknown)}; it has some by "
            f"{', '.join(kept) or 'nobody'}"
        )
    labels: dict[str, str] = {}
    disputed: set[str] = set()
    kind: Kind = "reclassed"
    for annotator, (table, _) in kept.items():
        if annotators and annotator not in annotators:
            continue
        chosen = table.filter(pc.equal(table["kind"], kind))
        for key, name in zip(
            chosen["uuid"].to_pylist(), chosen["class_after"].to_pylist(), strict=True
        ):
            if name and labels.setdefault(key, name) != name:
                disputed.add(key)
    return {key: name for key, name in labels.items() if key not in disputed}


def finished_slide(run: RunFolder, slide: str | None) -> str:
    """The slide meant, which is finished.

    Raises
    ------
    ConfigurationError
        If there is none of that name, several and none named, or it is not finished.
    """
    known: list[str] = list(read_manifest(run)["slides"])
    names = [name for name in known if run.slide(name).report.exists()]
    if slide is None and len(names) == 1:
        return names[0]
    if slide is None or slide not in names:
        asked = f"no finished slide {slide!r}" if slide else "several finished slides, name one"
        raise ConfigurationError(f"{run.root} has {asked}; finished: {', '.join(names) or 'none'}")
    return slide


def _table(edits: Edits) -> pa.Table:
    outlines = [None if shape is None else shapely.to_wkb(shape) for shape in edits.outlines]
    columns = (edits.kinds, edits.uuids, edits.before, edits.after, outlines)
    return pa.table([pa.array(list(column)) for column in columns], SCHEMA.names).cast(SCHEMA)
