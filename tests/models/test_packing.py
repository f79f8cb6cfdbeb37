"""A model in one file: whole, the same bytes every time, and safe to take apart."""

from __future__ import annotations

import io
import json
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from runs import wsiseg_command
from wsiseg.errors import ModelError
from wsiseg.models import archives
from wsiseg.models.added import added_models
from wsiseg.models.archives import unpack_archive
from wsiseg.models.contents import require_inside
from wsiseg.models.packing import MANIFEST, is_packed, pack_model, unpack_model
from wsiseg.models.zoo import find_model, load_segmenter


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "models"
    monkeypatch.setenv("WSISEG_MODELS", str(folder))
    return folder


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    file = tmp_path / "model.zip"
    pack_model("nuclei-he", file)
    return file


def changed(packed: Path, change: Callable[[dict[str, bytes]], None], mode: int = 0o100644) -> Path:
    """The file again, its members changed."""
    with zipfile.ZipFile(packed) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    out = packed.with_name("changed.zip")
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (mode if name.endswith("CARD.md") else 0o100644) << 16
            archive.writestr(info, content)
    return out


def test_a_model_goes_there_and_back(packed: Path) -> None:
    assert is_packed(packed)
    unpacked = unpack_model(packed, name="carried")
    assert added_models() == ("carried",)
    assert unpacked.spec == load_segmenter("carried").spec
    original = find_model("nuclei-he")
    for file in original.iterdir():
        assert (unpacked.path / file.name).read_bytes() == file.read_bytes()


def test_the_same_model_gives_the_same_bytes(packed: Path, tmp_path: Path) -> None:
    unpack_model(packed, name="nuclei-he-copy")
    again = tmp_path / "again.zip"
    first = pack_model("nuclei-he", again)
    assert again.read_bytes() == packed.read_bytes()
    assert first.bytes == packed.stat().st_size
    twice = [tmp_path / "a.zip", tmp_path / "b.zip"]
    assert len({pack_model("nuclei-he-copy", file).sha256 for file in twice}) == 1


def test_what_has_no_weights_is_not_packed(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no weights of its own"):
        pack_model("classical-he", tmp_path / "model.zip")
    assert not (tmp_path / "model.zip").exists()


def test_the_name_is_kept_unless_it_is_taken(packed: Path) -> None:
    with pytest.raises(ModelError, match="there is a model nuclei-he already"):
        unpack_model(packed)


def swapped(members: dict[str, bytes]) -> None:
    members["files/CARD.md"] = members["files/CARD.md"].replace(b"a", b"b")


def shortened(members: dict[str, bytes]) -> None:
    members["files/CARD.md"] = members["files/CARD.md"][:-1]


def lengthened(members: dict[str, bytes]) -> None:
    members["files/CARD.md"] += b"more"


def added_file(members: dict[str, bytes]) -> None:
    members["files/more.py"] = b"print()"


def lost(members: dict[str, bytes]) -> None:
    del members["files/CARD.md"]


def no_manifest(members: dict[str, bytes]) -> None:
    del members[MANIFEST]


def not_json(members: dict[str, bytes]) -> None:
    members[MANIFEST] = b"{"


def escaping(members: dict[str, bytes]) -> None:
    record = json.loads(members[MANIFEST])
    record["files"]["../up.md"] = record["files"].pop("CARD.md")
    members[MANIFEST] = json.dumps(record).encode()
    members["files/../up.md"] = members.pop("files/CARD.md")


def huge(members: dict[str, bytes]) -> None:
    record = json.loads(members[MANIFEST])
    record["files"]["CARD.md"]["bytes"] = 1 << 60
    members[MANIFEST] = json.dumps(record).encode()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (swapped, "sha256"),
        (shortened, "sha256"),
        (lengthened, "larger than"),
        (added_file, "does not state: files/more.py"),
        (lost, r"not whole.*CARD\.md"),
        (no_manifest, "no wsiseg-model.json"),
        (not_json, "no whole model"),
        (escaping, "leads out"),
        (huge, "no whole model"),
    ],
)
def test_what_is_not_as_stated_is_refused(
    packed: Path,
    models: Path,
    change: Callable[[dict[str, bytes]], None],
    reason: str,
) -> None:
    with pytest.raises(ModelError, match=reason):
        unpack_model(changed(packed, change), name="carried")
    assert not models.exists() or list(models.iterdir()) == []
    assert not (models.parent / "up.md").exists()


def test_links_are_refused(packed: Path) -> None:
    linked = changed(packed, lambda members: None, stat.S_IFLNK | 0o777)
    with pytest.raises(ModelError, match="no plain file"):
        unpack_model(linked, name="carried")


def test_a_file_that_was_cut_off_is_refused(packed: Path) -> None:
    packed.write_bytes(packed.read_bytes()[:-100])
    with pytest.raises(ModelError, match="no whole model"):
        unpack_model(packed, name="carried")
    with pytest.raises(ModelError, match="no whole model"):
        unpack_model(find_model("nuclei-he") / "model.json", name="carried")


@pytest.mark.parametrize(
    "path", ["", "/etc/passwd", "../a", "a/../b", "a//b", "./a", "a\\b", "C:a", "a\nb", "x" * 600]
)
def test_paths_that_lead_elsewhere_are_refused(path: str) -> None:
    with pytest.raises(ModelError, match="may not occur"):
        require_inside(path)


def test_plain_paths_pass() -> None:
    for path in ("model.pt", "a/b/c.json", "..a", "with space.txt"):
        require_inside(path)


def tar_of(path: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for member in members:
            archive.addfile(member, io.BytesIO(bytes(member.size)))
    return path


def tar_member(name: str, size: int = 3, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.type, member.linkname = size, kind, "/etc/passwd"
    return member


@pytest.mark.parametrize(
    "member",
    [
        tar_member("../up"),
        tar_member("/etc/up"),
        tar_member("link", 0, tarfile.SYMTYPE),
        tar_member("link", 0, tarfile.LNKTYPE),
        tar_member("pipe", 0, tarfile.FIFOTYPE),
    ],
    ids=["up", "absolute", "link", "hard link", "pipe"],
)
def test_tar_archives_place_nothing_elsewhere(tmp_path: Path, member: tarfile.TarInfo) -> None:
    file = tar_of(tmp_path / "model.tar.gz", tar_member("fine"), member)
    with pytest.raises(ModelError, match=r"leads out|no plain file"):
        unpack_archive(file, file.name, tmp_path / "deep" / "out")
    assert [path.name for path in (tmp_path / "deep").rglob("*")] == ["out", "fine"]


def test_archives_are_bounded_by_what_comes_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "MAX_BYTES", 1000)
    file = tar_of(tmp_path / "model.tgz", tar_member("a", 600), tar_member("b", 600))
    with pytest.raises(ModelError, match="larger than"):
        unpack_archive(file, file.name, tmp_path / "tar")
    bomb = tmp_path / "model.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", bytes(100_000))
    with pytest.raises(ModelError, match="larger than"):
        unpack_archive(bomb, bomb.name, tmp_path / "zip")


def test_a_file_twice_and_damage_are_refused(tmp_path: Path) -> None:
    file = tar_of(tmp_path / "model.tar.gz", tar_member("a"), tar_member("a"))
    with pytest.raises(ModelError, match="twice"):
        unpack_archive(file, file.name, tmp_path / "out")
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(ModelError, match="damaged"):
        unpack_archive(file, file.name, tmp_path / "other")


def test_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "model.zip"
    packed = wsiseg_command("models", "pack", "nuclei-fluo", file)
    assert packed.returncode == 0, packed.stderr
    assert "sha256 " in packed.stdout
    unpacked = wsiseg_command("models", "unpack", file, "--name", "carried")
    assert unpacked.returncode == 0, unpacked.stderr
    assert added_models() == ("carried",)
    again = wsiseg_command("models", "unpack", file, "--name", "carried")
    assert again.returncode == 1
    assert again.stderr.startswith("error: there is a model carried already")
