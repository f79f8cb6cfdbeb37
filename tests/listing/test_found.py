"""Slides below folders and of globs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from wsiseg.errors import ConfigurationError
from wsiseg.job import Job
from wsiseg.listing import found, table
from wsiseg.listing.found import companions, slides_below, slides_matching

STUDY, SERIES = b"1.2.3.4", b"1.2.3.5"


def tiff(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, np.zeros((8, 8, 3), np.uint8), photometric="rgb")
    return path


def touch(path: Path, content: bytes = b"") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def dicom(path: Path, series: bytes) -> Path:
    """The beginning of a whole-slide DICOM file whose study refers to another series too."""

    def uid(tag: bytes, value: bytes) -> bytes:
        value += b"\0" * (len(value) % 2)
        return tag + b"UI" + len(value).to_bytes(2, "little") + value

    other = uid(b"\x20\x00\x0e\x00", b"9.9.9")
    kind = uid(b"\x08\x00\x16\x00", b"1.2.840.10008.5.1.4.1.1.77.1.6")
    own = uid(b"\x20\x00\x0d\x00", STUDY) + uid(b"\x20\x00\x0e\x00", series)
    return touch(path, bytes(128) + b"DICM" + kind + other + own + bytes(64))


def names(folder: Path, slides: list[Path]) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in slides]


def test_what_in_a_folder_is_a_slide(tmp_path: Path) -> None:
    tiff(tmp_path / "a.svs")
    tiff(tmp_path / "deep" / "er" / "B.TIFF")
    tiff(tmp_path / "no-ending")
    touch(tmp_path / "broken.ndpi", b"not a slide")
    touch(tmp_path / "README.md", b"# slides")
    touch(tmp_path / "list.csv", b"path\na.svs\n")
    touch(tmp_path / "thumb.jpg", b"\xff\xd8\xff")
    tiff(tmp_path / ".hidden.svs")
    tiff(tmp_path / ".cache" / "c.svs")
    tiff(tmp_path / "results.zarr" / "c.tif")
    assert names(tmp_path, slides_below(tmp_path)) == [
        "a.svs",
        "broken.ndpi",
        "no-ending",
        "deep/er/B.TIFF",
    ]


def test_companions_are_not_slides(tmp_path: Path) -> None:
    slide = touch(tmp_path / "m.mrxs", b"index")
    data = touch(tmp_path / "m" / "Data0000.dat").parent
    tiff(data / "strange.tif")
    tiff(tmp_path / "other" / "o.tif")
    assert names(tmp_path, slides_below(tmp_path)) == ["m.mrxs", "other/o.tif"]
    assert companions(slide) == (data,)
    assert companions(tmp_path / "other" / "o.tif") == ()


def test_a_dicom_series_is_one_slide(tmp_path: Path) -> None:
    files = [dicom(tmp_path / f"{i}.dcm", SERIES) for i in range(3)]
    lone = dicom(tmp_path / "4.dcm", b"1.2.3.6")
    bare = dicom(tmp_path / "same series elsewhere" / "IM0001", SERIES)
    touch(tmp_path / "unreadable.dcm", b"nothing")
    assert slides_below(tmp_path) == [files[0], lone, tmp_path / "unreadable.dcm", bare]
    assert companions(files[1]) == (files[0], files[2])
    assert companions(lone) == ()


def test_results_and_caches_are_passed_over(tmp_path: Path) -> None:
    tiff(tmp_path / "a.svs")
    out = tmp_path / "out"
    touch(out / "manifest.json", b'{"format": 1, "wsiseg": "0.1"}')
    tiff(out / "slides" / "a.svs" / "x.tif")
    tiff(tmp_path / "scratch" / "copy.svs")
    touch(tmp_path / "scratch" / "CACHEDIR.TAG", b"Signature: 8a477f597d28d172789f06886806bc55")
    # Another program's manifest beside slides hides nothing.
    touch(tmp_path / "batch" / "manifest.json", b"{}")
    tiff(tmp_path / "batch" / "slides" / "b.svs")
    assert names(tmp_path, slides_below(tmp_path)) == ["a.svs", "batch/slides/b.svs"]
    with pytest.raises(ConfigurationError, match="run directory of wsiseg"):
        slides_below(out)


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    tiff(tmp_path / "deep" / "a.svs")
    (tmp_path / "deep" / "back").symlink_to(tmp_path)
    (tmp_path / "deep" / "gone.svs").symlink_to(tmp_path / "nowhere")
    assert names(tmp_path, slides_below(tmp_path)) == ["deep/a.svs", "deep/gone.svs"]


def test_globs(tmp_path: Path) -> None:
    a, b = tiff(tmp_path / "x" / "a.svs"), tiff(tmp_path / "x" / "deep" / "b.svs")
    c = tiff(tmp_path / "y" / "c.tif")
    touch(tmp_path / "x" / "notes.txt")
    assert slides_matching(f"{tmp_path}/x/*.svs") == [a]
    assert slides_matching(f"{tmp_path}/**/*.svs") == [a, b]
    assert slides_matching(f"{tmp_path}/**") == [a, b, c]
    assert slides_matching(f"{tmp_path}/?") == [a, b, c]
    with pytest.raises(ConfigurationError, match="no slide matches"):
        slides_matching(f"{tmp_path}/*.ndpi")


def test_found_twice_counts_once_and_named_keeps_its_place(tmp_path: Path) -> None:
    a, b = tiff(tmp_path / "a.svs"), tiff(tmp_path / "b [1].svs")
    listed = tmp_path / "list.csv"
    listed.write_text("path,mpp\nb [1].svs,0.4\n")
    job = Job.of(tmp_path, listed, f"{tmp_path}/*.svs")
    assert [(entry.path, entry.mpp) for entry in job.slides] == [(a, None), (b, 0.4)]
    assert [entry.path for entry in Job.of(b).slides] == [b]


def test_a_folder_without_slides_and_too_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigurationError, match="holds no slide"):
        Job.of(tmp_path)
    for i in range(4):
        tiff(tmp_path / f"{i}.svs")
    monkeypatch.setattr(found, "MAX_SLIDES", 3)
    with pytest.raises(ConfigurationError, match="more than"):
        slides_below(tmp_path)
    assert table.MAX_SLIDES == 100_000
