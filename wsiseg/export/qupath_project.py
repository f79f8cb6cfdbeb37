"""A Groovy script that adds slides and their overlays to a QuPath project.

The calls are QuPath's own (0.4 to 0.8): ``ImageServers.buildServer``,
``ProjectCommands.addSingleImageToProject``, ``QP.importObjectsFromFile`` on the image that
``QP.setBatchProjectAndImage`` names, ``ProjectImageEntry.saveImageData``. What was imported is
noted in the entry's metadata, so that running the script again doubles nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wsiseg.files import writing

INSTRUCTIONS = (
    "1. In QuPath (0.4 or later), create or open a project and drag this script onto the window.",
    "2. In the script editor choose Run, once: it does the whole project by itself.",
    "3. Without a window: QuPath script --args=PROJECT_FOLDER {script}",
)
"""The three lines a user has to know; ``{script}`` stands for the script's name."""

_SLIDES_A_CLASS = 100
"""The JVM bounds a method at 64 KiB and a class at 65,535 constants."""

_PLAIN = {"\\": "\\\\", "'": "\\'", "\n": "\\n", "\r": "\\r", "\t": "\\t"}

_IMPORTS = """\
import java.awt.image.BufferedImage
import java.nio.file.Paths
import qupath.lib.gui.QuPathGUI
import qupath.lib.gui.commands.ProjectCommands
import qupath.lib.images.ImageData
import qupath.lib.images.servers.ImageServers
import qupath.lib.projects.ProjectIO
import qupath.lib.projects.Projects
import qupath.lib.scripting.QP
"""

_SETTINGS = """\
// Folders that lie elsewhere on this machine, as [where it was: where it is]. Holds for slides
// and for run directories, for example ['/archive': 'D:\\\\archive'].
def moved = {moved}

// Where a slide was segmented anew since its overlays were imported:
// false reports it, true first removes all objects of that image, yours too.
def replace = false
"""

_BODY = """\
def fileOf = { String path ->
    def roots = moved.collectEntries { old, now -> [(old.replaceAll('/+$', '')): now] }
    def root = roots.keySet().findAll { path == it || path.startsWith(it + '/') }
        .max { it.length() }
    root == null ? new File(path) : new File(roots[root] + path.substring(root.length()))
}

def placeOf = { URI uri ->
    try {
        def bare = new URI(uri.getScheme(), uri.getAuthority(), uri.getPath(), null, null)
        return Paths.get(bare).toFile().getCanonicalPath()
    } catch (Exception ignored) {
        return uri.toString()
    }
}

def projectIn = { File folder ->
    folder.mkdirs()
    def there = folder.listFiles().findAll { it.getName().endsWith('.qpproj') }
    if (there.size() > 1)
        throw new IllegalStateException("There are several projects in ${folder}")
    there ? ProjectIO.loadProject(there[0], BufferedImage) :
        Projects.createProject(folder, BufferedImage)
}

def given = binding.hasVariable('args') ? binding.getVariable('args') : null
def project = given ? projectIn(new File(given[0].toString())) : QP.getProject()
if (project == null)
    throw new IllegalStateException('Create or open a project first (File > Project).')

def shown = QP.getCurrentImageData()
def known = [:]
project.getImageList().each { entry ->
    entry.getURIs().each { uri -> known.putIfAbsent(placeOf(uri), entry) }
}

def added = { slide, File file ->
    def server = ImageServers.buildServer(file.toURI())
    if (server == null)
        throw new IOException('QuPath cannot read this image')
    def entry = null
    try {
        def type = slide.type == null ? null : ImageData.ImageType.valueOf(slide.type)
        entry = ProjectCommands.addSingleImageToProject(project, server, type)
    } finally {
        server.close()
    }
    if (entry == null)
        throw new IOException('QuPath could not add this image to the project')
    entry.putMetadataValue('_wsiseg', 'added')
    entry
}

def noteOf = { overlay -> '_wsiseg ' + overlay.name }

def wanted = { slide, entry ->
    slide.overlays.findAll { overlay ->
        // Whoever had the image before has the regions they drew on it.
        def theirs = overlay.name == 'regions' && entry.getMetadataValue('_wsiseg') == null
        !theirs && entry.getMetadataValue(noteOf(overlay)) != overlay.key
    }
}

def filesOf = { slide, overlay ->
    def place = fileOf(overlay.file.startsWith('/') ? overlay.file :
        slide.folder + '/' + overlay.file)
    if (!place.exists())
        throw new FileNotFoundException("${place} is missing")
    if (!place.isDirectory())
        return [place]
    place.listFiles().findAll { it.getName().endsWith('.geojson.gz') }.sort { it.getName() }
}

def overlaid = { slide, entry, overlays ->
    def files = overlays.collectMany { filesOf(slide, it) }
    def open = shown != null && project.getEntry(shown) == entry
    def data = open ? shown : entry.readImageData()
    QP.setBatchProjectAndImage(project, data)
    try {
        if (overlays.any { entry.getMetadataValue(noteOf(it)) != null })
            data.getHierarchy().clearAll()
        files.each { QP.importObjectsFromFile(it.getPath()) }
        if (slide.mpp != null)
            QP.setPixelSizeMicrons(slide.mpp, slide.mpp)
        entry.saveImageData(data)
        overlays.each { entry.putMetadataValue(noteOf(it), it.key) }
    } finally {
        QP.resetBatchProjectAndImage()
        if (!open)
            data.getServer().close()
    }
}

def problems = []
def counts = [images: 0, overlays: 0]
slides.eachWithIndex { slide, index ->
    def said = []
    try {
        def file = fileOf(slide.path)
        if (!file.exists())
            throw new FileNotFoundException("${file} is missing; edit 'moved' in this script")
        def place = file.getCanonicalPath()
        def entry = known[place]
        if (entry == null) {
            entry = added(slide, file)
            known[place] = entry
            counts.images++
            said << 'added'
        }
        def overlays = wanted(slide, entry)
        if (overlays.any { entry.getMetadataValue(noteOf(it)) != null }) {
            if (!replace)
                throw new IllegalStateException('it has overlays of an earlier segmentation; ' +
                    "set 'replace' in this script, or remove the image from the project")
            overlays = slide.overlays
        }
        if (overlays) {
            overlaid(slide, entry, overlays)
            counts.overlays += overlays.size()
            said << overlays.collect { it.name }.join(' and ')
        }
        if (said)
            project.syncChanges()
    } catch (Exception error) {
        problems << "${slide.name}: ${error.getMessage() ?: error}"
        said << 'PROBLEM: ' + (error.getMessage() ?: error)
    }
    println "${index + 1} of ${slides.size()}: ${slide.name}: ${said.join(', ') ?: 'there already'}"
}
project.syncChanges()
QuPathGUI.getInstance()?.refreshProject()

println "${counts.images} images added, ${counts.overlays} overlays imported"
if (problems)
    println "${problems.size()} slides with problems:\\n  " + problems.join('\\n  ')
"""


@dataclass(frozen=True, slots=True)
class Overlay:
    """Objects of a slide in a GeoJSON file.

    Attributes
    ----------
    name
        ``"nuclei"``, ``"tissue"`` or ``"regions"``; regions are the user's own and go only to
        images that the script itself adds.
    file
        File or folder of files: a name in the slide's folder, or a full path.
    key
        Hash of the content: another one means other objects.
    """

    name: str
    file: str
    key: str


@dataclass(frozen=True, slots=True)
class ProjectSlide:
    """One image of the project.

    Attributes
    ----------
    path
        The slide file, as a full path.
    name
        What the script calls it while it runs.
    folder
        Its folder in a run directory, as a full path.
    overlays
        What to import.
    image_type
        QuPath's word, such as ``"FLUORESCENCE"``; ``None`` leaves it to QuPath.
    mpp
        Pixel size of level 0 in µm/px to set in place of the file's.
    """

    path: str
    name: str
    folder: str
    overlays: tuple[Overlay, ...]
    image_type: str | None = None
    mpp: float | None = None


def instructions(script: str) -> tuple[str, ...]:
    """The three lines a user has to know, for a script of that name."""
    return tuple(line.format(script=script) for line in INSTRUCTIONS)


def write_project_script(
    path: Path, slides: Sequence[ProjectSlide], moved: Mapping[str, str] | None = None
) -> None:
    """Write the script, whole or not at all.

    Parameters
    ----------
    path
        File to write.
    slides
        What to add, in this order.
    moved
        Folders that lie elsewhere on the machine that runs QuPath: where each was, where it is.

    Raises
    ------
    StoreError
        If the file cannot be written.
    """
    with writing(path) as temporary:
        temporary.write_text(_script(slides, moved or {}), encoding="ascii")


def groovy_string(text: str) -> str:
    """``text`` as a Groovy literal in ASCII, which neither encodings nor ``$`` can change.

    After the Groovy language's rules for single-quoted strings: backslash escapes, and UTF-16
    units as ``\\uXXXX``.
    """
    return f"'{''.join(map(_escaped, text))}'"


def _escaped(character: str) -> str:
    if character in _PLAIN:
        return _PLAIN[character]
    if " " <= character <= "~":
        return character
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[start : start + 4]}" for start in range(0, len(units), 4))


def _script(slides: Sequence[ProjectSlide], moved: Mapping[str, str]) -> str:
    head = [
        "// Adds the slides of a run of wsiseg and their overlays to a QuPath project.",
        *(f"// {line}" for line in instructions("THIS_FILE")),
        "// Run it again at any time: what is there already is not added twice.",
    ]
    pairs = ", ".join(f"{_key(old)}: {groovy_string(new)}" for old, new in moved.items())
    settings = _SETTINGS.format(moved=f"[{pairs or ':'}]")
    parts = [slides[start : start + _SLIDES_A_CLASS] for start in _starts(slides)]
    names = ", ".join(f"Slides{number}" for number in range(len(parts)))
    gathered = f"def slides = [{names}].collectMany {{ it.all() }}\n"
    classes = [_class(number, part) for number, part in enumerate(parts)]
    return "\n".join(["\n".join(head), _IMPORTS, settings, gathered, _BODY, *classes])


def _starts(slides: Sequence[ProjectSlide]) -> range:
    return range(0, len(slides), _SLIDES_A_CLASS)


def _class(number: int, slides: Sequence[ProjectSlide]) -> str:
    rows = ",\n".join(_row(slide) for slide in slides)
    return f"class Slides{number} {{\n    static List all() {{ [\n{rows}\n    ] }}\n}}\n"


def _row(slide: ProjectSlide) -> str:
    overlays = ", ".join(
        f"[name: {groovy_string(o.name)}, file: {groovy_string(o.file)}, "
        f"key: {groovy_string(o.key)}]"
        for o in slide.overlays
    )
    kind = "null" if slide.image_type is None else groovy_string(slide.image_type)
    mpp = "null" if slide.mpp is None else f"{slide.mpp!r}d"
    return (
        f"        [name: {groovy_string(slide.name)}, path: {groovy_string(slide.path)}, "
        f"type: {kind}, mpp: {mpp},\n         folder: {groovy_string(slide.folder)},\n"
        f"         overlays: [{overlays}]]"
    )


def _key(text: str) -> str:
    return f"({groovy_string(text)})"
