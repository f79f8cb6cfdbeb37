"""The finished slides of run directories as a script for QuPath."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from wsiseg.errors import ConfigurationError
from wsiseg.execution.results import Run, open_run
from wsiseg.export.qupath_project import Overlay, ProjectSlide, write_project_script
from wsiseg.job import TISSUE_METHODS, Export
from wsiseg.pipeline.plan import read_plan
from wsiseg.store.folders import RunFolder

_OVERLAYS: Mapping[str, Export] = {"nuclei": "geojson", "tissue": "tissue"}


def write_qupath_script(
    outs: Sequence[str | Path], script: str | Path, moved: Mapping[str, str] | None = None
) -> tuple[ProjectSlide, ...]:
    """Write the script that adds every finished slide and its overlays to a QuPath project.

    Parameters
    ----------
    outs
        Run directories.
    script
        File to write; its name must end in ``.groovy``.
    moved
        Folders that lie elsewhere on the machine that runs QuPath: where each was, where it is.

    Returns
    -------
    The slides that the script adds, those without any overlay among them.

    Raises
    ------
    ConfigurationError
        If no slide is finished, a slide comes twice, or the script's name would not do for
        QuPath.
    StoreError
        If a folder is no run directory, or the script cannot be written.
    """
    script = Path(script)
    if script.suffix != ".groovy":
        raise ConfigurationError(f"{script}: QuPath runs scripts whose names end in .groovy")
    runs = [open_run(Path(out).resolve()) for out in outs]
    slides = tuple(_project_slide(run, name) for run in runs for name in run.complete)
    if not slides:
        raise ConfigurationError(f"{', '.join(map(str, outs))}: no slide is finished yet")
    folders: dict[str, str] = {}
    for slide in slides:
        if slide.path in folders:
            raise ConfigurationError(
                f"{slide.path} was segmented in {folders[slide.path]} and in {slide.folder}; name "
                "the run directory whose overlays you want"
            )
        folders[slide.path] = slide.folder
    write_project_script(script, slides, moved)
    return slides


def _project_slide(run: Run, name: str) -> ProjectSlide:
    folder = RunFolder(run.path).slide(name)
    exports, plan = run.report(name)["exports"], read_plan(folder.plan)
    overlays = [
        Overlay(overlay, str(exports[export]["file"]), str(exports[export]["key"]))
        for overlay, export in _OVERLAYS.items()
        if export in exports and (folder.root / exports[export]["file"]).exists()
    ]
    entry = run.manifest["slides"][name]
    return ProjectSlide(
        path=str(entry["path"]),
        name=name,
        folder=str(folder.root),
        overlays=(*overlays, *_regions(entry)),
        image_type="FLUORESCENCE" if len(plan.channels) == 1 else None,
        mpp=plan.stated_mpp,
    )


def _regions(entry: Mapping[str, object]) -> tuple[Overlay, ...]:
    """The user's own regions that the slide was segmented in, where the file is still there."""
    stated = entry.get("entry")
    tissue = stated.get("tissue") if isinstance(stated, Mapping) else None
    if not isinstance(tissue, str) or tissue in TISSUE_METHODS or not Path(tissue).is_file():
        return ()
    digest = hashlib.blake2b(Path(tissue).read_bytes(), digest_size=16).hexdigest()
    return (Overlay("regions", tissue, digest),)
