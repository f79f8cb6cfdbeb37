"""Lists of slides, and jobs in TOML."""

from __future__ import annotations

import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from wsiseg.errors import ConfigurationError
from wsiseg.job import Job, SlideEntry, read_job
from wsiseg.listing import table


def of(path: Path, text: str) -> tuple[SlideEntry, ...]:
    path.write_text(text)
    return Job.of(path).slides


def test_every_column(tmp_path: Path) -> None:
    (entry, bare) = of(
        tmp_path / "l.csv",
        "Path,MPP,channel,stain,tissue,group,scanner,note\n"
        'a.svs,0.25,DAPI,H&E,regions.geojson,patient 7,GT450,"one, two"\n'
        "\n"
        "sub/b.svs,,,,,,,\n",
    )
    assert entry == SlideEntry(
        path=tmp_path / "a.svs",
        mpp=0.25,
        channel="DAPI",
        stain="HE",
        tissue=str(tmp_path / "regions.geojson"),
        group="patient 7",
        metadata={"scanner": "GT450", "note": "one, two"},
    )
    assert entry.about == {
        "group": "patient 7",
        "stain": "HE",
        "metadata": {"scanner": "GT450", "note": "one, two"},
    }
    assert bare == SlideEntry(path=tmp_path / "sub" / "b.svs")
    assert bare.about == {}
    assert len({entry, bare}) == 2


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_separators_and_signatures(tmp_path: Path, separator: str) -> None:
    text = "\ufeffpath,mpp,group\na.svs,0.5,x\n".replace(",", separator)
    (entry,) = of(tmp_path / "l.csv", text)
    assert (entry.path.name, entry.mpp, entry.group) == ("a.svs", 0.5, "x")


def test_parquet(tmp_path: Path) -> None:
    rows = {
        "path": ["a.svs", "b.svs"],
        "mpp": [0.25, None],
        "group": pa.array([7, 8]).cast(pa.int32()),
        "stain": pa.array(["hdab", None]).dictionary_encode(),
        "taken": [datetime.date(2024, 5, 1), None],
        "score": [float("nan"), 2.0],
    }
    pq.write_table(pa.table(rows), tmp_path / "l.parquet")
    first, second = Job.of(tmp_path / "l.parquet").slides
    assert (first.mpp, first.group, first.stain) == (0.25, "7", "HDAB")
    assert (second.mpp, second.group, second.stain) == (None, "8", None)
    assert first.metadata == {"taken": "2024-05-01"}
    assert second.metadata == {"score": "2"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,mpp\na.svs,0.5\nb.svs,half\n", r"line 3: mpp: .*number"),
        ("path,mpp\na.svs,-1\n", r"line 2: mpp"),
        ("path,stain\na.svs,PAS\n", r"line 2: stain: 'PAS' is neither HE nor HDAB"),
        ("path,mpp\na.svs,0.5,7\n", r"line 2: more values"),
        ("path,mpp\n,0.5\n", r"line 2: the path is empty"),
        ('path,note\n"a\nb.svs",x\nc.svs,"un"quoted\n', r"line 4"),
        ("file,mpp\na.svs,0.5\n", r"column 'path'; it has file, mpp"),
        ("path,mpp,MPP\na.svs,1,2\n", r"column mpp twice"),
        ("path,,x\na.svs,1,2\n", r"column 2 .* has no name"),
        ("path,mpp\n", r"names no slide"),
        ("", r"column 'path'"),
        ("path,note\na.svs," + "x" * 3000 + "\n", r"line 2: note has more than 2,000"),
    ],
)
def test_malformed_lists(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        of(tmp_path / "l.csv", text)


def test_a_list_must_be_text(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_bytes("path\nä.svs\n".encode("latin-1"))
    with pytest.raises(ConfigurationError, match="UTF-8"):
        Job.of(tmp_path / "l.csv")
    (tmp_path / "l.parquet").write_bytes(b"PAR1 not really PAR1")
    with pytest.raises(ConfigurationError, match="cannot read the list"):
        Job.of(tmp_path / "l.parquet")
    pq.write_table(pa.table({"path": ["a"], "x": [[1, 2]]}), tmp_path / "l.parquet")
    with pytest.raises(ConfigurationError, match="x holds neither text"):
        Job.of(tmp_path / "l.parquet")


def test_a_list_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = table.MAX_SLIDES + 1
    names = pa.array([f"{i}.svs" for i in range(count)])
    pq.write_table(pa.table({"path": names}), tmp_path / "l.parquet")
    with pytest.raises(ConfigurationError, match=r"more than 100,000 slides.*several runs"):
        Job.of(tmp_path / "l.parquet")
    (tmp_path / "l.csv").write_text("path\n" + "\n".join(names.to_pylist()) + "\n")
    with pytest.raises(ConfigurationError, match="more than 100,000 slides"):
        Job.of(tmp_path / "l.csv")
    monkeypatch.setattr(table, "MAX_BYTES", 1000)
    with pytest.raises(ConfigurationError, match="larger than"):
        Job.of(tmp_path / "l.csv")


def test_a_missing_slide_of_a_list_is_no_refusal_but_a_missing_path_is(tmp_path: Path) -> None:
    (entry,) = of(tmp_path / "l.csv", "path,tissue\ngone.svs,gone.geojson\n")
    assert entry.tissue == str(tmp_path / "gone.geojson")
    with pytest.raises(ConfigurationError, match="does not exist"):
        Job.of(tmp_path / "gone.svs")
    with pytest.raises(ConfigurationError, match="nor a file"):
        Job.of(tmp_path / "l.csv", tissue=str(tmp_path / "gone.geojson"))


def test_a_job_in_toml(tmp_path: Path) -> None:
    (tmp_path / "slides").mkdir()
    (tmp_path / "slides" / "a.svs").write_bytes(b"a")
    (tmp_path / "l.csv").write_text("path,group\nb.svs,7\n")
    file = tmp_path / "job.toml"
    file.write_text(
        'model = "classical-he"\nexports = ["table"]\n'
        'slides = ["slides", "l.csv", {path = "c.svs", mpp = 0.5, stain = "HE", '
        'tissue = "c.geojson", metadata = {site = "x"}}]\n'
    )
    job = read_job(file)
    assert [e.path.relative_to(tmp_path).as_posix() for e in job.slides] == [
        "slides/a.svs",
        "b.svs",
        "c.svs",
    ]
    assert job.slides[2].tissue == str(tmp_path / "c.geojson")
    assert job.slides[2].metadata == {"site": "x"}
    assert (job.model, job.exports) == ("classical-he", ("table",))
    other = read_job(file, [tmp_path / "slides" / "a.svs"], exports=("geojson",))
    assert [e.path.name for e in other.slides] == ["a.svs"]
    assert other.exports == ("geojson",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("slides = [\n", "cannot read the job"),
        ("slides = []\n", "name at least one"),
        ("model = 'classical-he'\n", "name at least one"),
        ("slides = [{path = 'a.svs', colour = 1}]\n", "number 1: colour"),
        ("slides = [7]\n", "number 1: neither a path"),
        ("slides = ['gone.svs']\n", "does not exist"),
        ("slides = [{path = 'a.svs'}]\ncolour = 'blue'\n", "colour"),
    ],
)
def test_malformed_jobs(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "job.toml").write_text(text)
    with pytest.raises(ConfigurationError, match=message) as caught:
        read_job(tmp_path / "job.toml")
    assert "job.toml" in str(caught.value)
