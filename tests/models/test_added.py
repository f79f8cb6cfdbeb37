"""Models of one's own: added, listed, trusted, removed; and names against paths."""

from __future__ import annotations

import json
import pickle
import shutil
import sys
from pathlib import Path

import orjson
import pytest

import wsiseg
from runs import wsiseg_command
from wsiseg.demo import write_demo_slide
from wsiseg.errors import ModelError
from wsiseg.job import Job, read_job
from wsiseg.models import added, contents, trust, zoo
from wsiseg.models.added import added_model, added_models, read_record, remove_model
from wsiseg.models.adding import add_model
from wsiseg.models.known import card_score, known_model, verify_model
from wsiseg.models.pickles import require_plain_tensors
from wsiseg.models.trust import require_trusted
from wsiseg.models.zoo import find_model, load_segmenter, settle_name
from wsiseg.pipeline.plan import read_plan
from wsiseg.pipeline.prepare import prepare_in
from wsiseg.store.folders import RunFolder

BUNDLED = find_model("nuclei-he")


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "models"
    monkeypatch.setenv("WSISEG_MODELS", str(folder))
    return folder


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    return Path(shutil.copytree(BUNDLED, tmp_path / "mine"))


class Programme:
    """A format of models that can run code."""

    NAME = "a programme"
    TORCH = False
    NEEDS_TRUST = True

    @staticmethod
    def recognises(path: Path) -> bool:
        return path.suffix == ".programme"

    @staticmethod
    def load(path: Path, device: str) -> object:
        return load_segmenter("classical-he")


@pytest.fixture
def programme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(sys.modules, "programmes", Programme)  # type: ignore[arg-type]
    monkeypatch.setattr(zoo, "_FORMATS", ("programmes", *zoo._FORMATS))
    path = tmp_path / "evil.programme"
    path.write_text("anything")
    return path


def test_an_added_model_goes_by_its_name_from_anywhere(
    mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = add_model(mine)
    assert found.name == "mine"
    assert found.spec is not None
    shutil.rmtree(mine)
    monkeypatch.chdir(tmp_path)
    assert added_models() == ("mine",)
    assert load_segmenter("mine").spec.sha256 == load_segmenter("nuclei-he").spec.sha256
    assert load_segmenter("mine+reinhard").spec.name.endswith("+reinhard")
    assert known_model("mine").where == "added"


@pytest.mark.parametrize("name", ["nuclei-he", "NUCLEI-HE", "classical-he", "again"])
def test_names_that_are_taken_are_refused(mine: Path, name: str) -> None:
    add_model(mine, name="again")
    with pytest.raises(ModelError, match=r"there is a model .* already"):
        add_model(mine, name=name)


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "downloads", "x" * 65, "a\nb"])
def test_names_that_are_none_are_refused(mine: Path, name: str, models: Path) -> None:
    with pytest.raises(ModelError, match="cannot be called"):
        add_model(mine, name=name or "-")
    assert added_models() == ()


def test_what_is_no_model_is_refused(tmp_path: Path, models: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("no model")
    with pytest.raises(ModelError, match="no model in a format known here"):
        add_model(path)
    with pytest.raises(ModelError, match="does not exist"):
        add_model(tmp_path / "gone")
    assert added_models() == ()


def test_a_model_that_cannot_be_opened_leaves_nothing(mine: Path, models: Path) -> None:
    weights = mine / "model.bin"
    weights.write_bytes(weights.read_bytes()[:-4])
    with pytest.raises(ModelError, match=r"model\.bin"):
        add_model(mine)
    assert added_models() == ()
    assert not [path for path in models.iterdir() if path.is_dir() and path.name == "mine"]


def test_sizes_are_bounded(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "MAX_FILES", 3)
    with pytest.raises(ModelError, match="more than 3 files"):
        add_model(mine)
    monkeypatch.undo()
    monkeypatch.setattr(contents, "MAX_BYTES", 1 << 10)
    with pytest.raises(ModelError, match="may hold"):
        contents.require_size(1 << 11)


def test_damage_is_found(mine: Path, models: Path) -> None:
    add_model(mine)
    assert verify_model("mine") == ""
    weights = models / "mine" / "files" / "model.bin"
    content = bytearray(weights.read_bytes())
    content[1000] ^= 1
    weights.write_bytes(content)
    assert verify_model("mine") == "model.bin is not the file that was added"
    weights.unlink()
    assert verify_model("mine") == "model.bin is missing"
    (models / "mine" / "record.json").write_text("{")
    assert "damaged" in verify_model("mine")
    remove_model("mine")
    assert added_models() == ()


def test_a_record_that_leads_elsewhere_is_refused(mine: Path, models: Path) -> None:
    add_model(mine)
    path = models / "mine" / "record.json"
    record = json.loads(path.read_text())
    record["entry"] = "../../../etc"
    path.write_text(json.dumps(record))
    with pytest.raises(ModelError, match="damaged"):
        find_model("mine")


def test_only_added_models_are_removed(mine: Path) -> None:
    add_model(mine)
    remove_model("mine")
    for name in ("mine", "nuclei-he", "../models", "."):
        with pytest.raises(ModelError, match="no model that was added"):
            remove_model(name)
    assert BUNDLED.is_dir()


def test_programmes_need_trust(programme: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"evil\.programme .*a programme.* --trust"):
        require_trusted(str(programme), trust=False)
    require_trusted(str(programme), trust=True)
    require_trusted("nuclei-he+macenko", trust=False)
    with pytest.raises(ModelError, match="--trust"):
        add_model(programme)
    assert added_models() == ()
    add_model(programme, trust=True)
    require_trusted("evil", trust=False)
    # The same file is trusted wherever it lies; another is not.
    require_trusted(str(programme), trust=False)
    programme.write_text("anything else")
    with pytest.raises(ModelError, match="nobody here has said"):
        require_trusted(str(programme), trust=False)


def test_a_trusted_model_that_changed_is_not_trusted(programme: Path, models: Path) -> None:
    add_model(programme, trust=True)
    (models / "evil" / "files" / "evil.programme").write_text("something else")
    with pytest.raises(ModelError, match="nobody here has said"):
        require_trusted("evil", trust=False)
    assert known_model("evil").problem == "not trusted: needs --trust"


def test_trust_in_a_description_is_trust_in_what_lies_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Described(Programme):
        @staticmethod
        def recognises(path: Path) -> bool:
            return path.suffix == ".toml" or (path / "net.toml").is_file()

    monkeypatch.setitem(sys.modules, "describeds", Described)  # type: ignore[arg-type]
    monkeypatch.setattr(zoo, "_FORMATS", ("describeds",))
    folder = tmp_path / "net"
    folder.mkdir()
    (folder / "net.toml").write_text("file = 'net.bin'")
    (folder / "net.bin").write_text("anything")
    added = add_model(folder / "net.toml", trust=True)
    assert (added.name, added.path.name) == ("net", "net.toml")
    assert sorted(read_record("net").files) == ["net.bin", "net.toml"]
    require_trusted(str(folder), trust=False)
    (folder / "net.bin").write_text("anything else")
    for path in (folder, folder / "net.toml"):
        with pytest.raises(ModelError, match="nobody here has said"):
            require_trusted(str(path), trust=False)


def test_runs_ask_for_trust_before_they_load(
    programme: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(path: Path, device: str) -> object:
        raise AssertionError("it was loaded")

    monkeypatch.setattr(Programme, "load", staticmethod(never))
    slide = tmp_path / "slide.tiff"
    slide.write_bytes(b"")
    job = Job.of(slide, model=str(programme))
    with pytest.raises(ModelError, match="--trust"):
        wsiseg.run(job, tmp_path / "out", inline=True)
    zoo._opened.cache_clear()
    with pytest.raises(AssertionError, match="it was loaded"):
        load_segmenter(str(programme))


def test_names_win_over_folders_and_paths_become_whole(
    mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slide = tmp_path / "slide.tiff"
    slide.write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    assert Job.of(slide, model="mine").model == str(mine)
    assert Job.of(slide, model="mine+macenko").model == f"{mine}+macenko"
    assert Job.of(slide, model="no-such").model == "no-such"
    (tmp_path / "nuclei-he").mkdir()
    assert Job.of(slide, model="nuclei-he").model == "nuclei-he"
    add_model(mine, name="other")
    mine.rename(tmp_path / "other")
    assert Job.of(slide, model="other").model == "other"


def test_a_model_that_moved_is_the_same_model(mine: Path, tmp_path: Path) -> None:
    slide = tmp_path / "slide.tiff"
    write_demo_slide(slide)
    folder = RunFolder(tmp_path / "out").slide("slide")
    first = Job.of(slide, model=str(mine))
    before = prepare_in(folder, first.settled(first.slides[0]), first, new=False).plan
    moved = Job.of(slide, model=str(mine.rename(tmp_path / "elsewhere")))
    after = prepare_in(folder, moved.settled(moved.slides[0]), moved, new=False).plan
    assert (after.segment_key, after.model) == (before.segment_key, moved.model)
    assert read_plan(folder.plan).model == moved.model


def test_a_job_file_counts_paths_from_its_folder(
    mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "slide.tiff").write_bytes(b"")
    path = tmp_path / "job.toml"
    path.write_text('slides = ["slide.tiff"]\nmodel = "mine"\ntrust = true\n')
    monkeypatch.chdir("/")
    job = read_job(path)
    assert (job.model, job.trust) == (str(mine), True)


EVIL = {
    "protocol 2": b"\x80\x02cposix\nsystem\nq\x00X\x02\x00\x00\x00lsq\x01\x85q\x02Rq\x03.",
    "protocol 4": pickle.dumps(shutil.rmtree, protocol=4),
    "hidden": b"\x80\x02\x82\x01.",
}


@pytest.mark.parametrize("content", EVIL.values(), ids=EVIL.keys())
def test_a_pickle_that_would_call_something_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"weights\.pth is refused: .*would call .*tensors alone"):
        require_plain_tensors(path)


def test_pickles_of_tensors_pass_whole_modules_do_not(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    layer = torch.nn.Linear(2, 3)
    state = {"state": layer.state_dict(), "half": torch.ones(2).half(), "epoch": 3}
    for old in (False, True):
        path = tmp_path / f"tensors-{old}.pt"
        torch.save(state, path, _use_new_zipfile_serialization=not old)
        require_plain_tensors(path)
        torch.save(layer, path, _use_new_zipfile_serialization=not old)
        with pytest.raises(ModelError, match=r"would call torch\.nn\.modules\.linear\.Linear"):
            require_plain_tensors(path)


def test_what_is_no_pickle_passes_and_what_is_cut_off_does_not(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(b"\x80\x02" + bytes(100))
    require_plain_tensors(path)
    cut = tmp_path / "model.pt"
    cut.write_bytes(b"\x80\x02ctorch\n")
    with pytest.raises(ModelError, match="damaged"):
        require_plain_tensors(cut)


def test_pickles_are_looked_at_when_models_are_added(mine: Path) -> None:
    (mine / "optimiser.pt").write_bytes(EVIL["protocol 2"])
    with pytest.raises(ModelError, match=r"posix\.system"):
        add_model(mine)


def test_scores_are_read_off_a_card() -> None:
    table = "| | F1@0.5 | AJI |\n|---|---|---|\n| as they are | 0.841 | 0.604 |\n| x | 0.7 | 0.5 |"
    assert card_score(f"# Model\n\n| set | tiles |\n|---|---|\n| A | 3 |\n\n{table}\n") == (
        "F1@0.5 0.841, AJI 0.604"
    )
    assert card_score("no table") == ""


def test_the_command_line(mine: Path, tmp_path: Path, models: Path) -> None:
    done = wsiseg_command("models", "add", mine, "--name", "ours")
    assert done.returncode == 0, done.stderr
    assert "--model ours" in done.stdout
    listed = orjson.loads(wsiseg_command("models", "list", "--json").stdout)
    where = {one["name"]: one["where"] for one in listed}
    assert where["ours"] == "added"
    assert where["tissue"] == "package"
    assert "--tissue tissue" in wsiseg_command("models", "show", "tissue").stdout
    shown = wsiseg_command("models", "show", "ours").stdout
    assert "CC-BY-4.0" in shown
    assert "Scores on the held-out tiles" in shown
    assert wsiseg_command("models", "verify").returncode == 0
    (models / "ours" / "files" / "model.bin").unlink()
    checked = wsiseg_command("models", "verify", "ours")
    assert checked.returncode == 1
    assert "model.bin is missing" in checked.stdout
    assert wsiseg_command("models", "remove", "ours").returncode == 0
    again = wsiseg_command("models", "remove", "ours")
    assert again.returncode == 1
    assert again.stderr.startswith("error: ours is no model that was added")


def test_settled_names_need_nothing_on_disk(tmp_path: Path) -> None:
    assert settle_name("classical-he+macenko") == "classical-he+macenko"
    assert settle_name("") == ""
    assert added_model("../../etc") is None
    assert trust.needs_trust(BUNDLED) is False
    (added.models_folder() / "half").mkdir(parents=True)
    (added.models_folder() / "half" / "record.json").write_text("[]")
    with pytest.raises(ModelError, match="damaged"):
        read_record("half")
