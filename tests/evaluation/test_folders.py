"""Folders of images: what pairs up, what is refused, what a model's answer becomes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsiseg.errors import ChannelError, ConfigurationError
from wsiseg.evaluation.evaluate import Options, evaluate_labels, evaluate_model
from wsiseg.evaluation.groups import GroupTable, Selection, read_split, tcga_patient
from wsiseg.evaluation.labels import read_labels, read_pixels
from wsiseg.evaluation.predict import NUCLEUS_UM2, mpp_of_nuclei, predict
from wsiseg.models.zoo import load_segmenter
from wsiseg.testing.segmenters import PaintedSegmenter, mock_spec, paint

OPTIONS = Options(resamples=100)
PAINTED = PaintedSegmenter(mock_spec("painted"))


def disc_labels(seed: int, size: tuple[int, int] = (96, 120), count: int = 7) -> np.ndarray:
    rng = np.random.default_rng(seed)
    ys, xs = np.mgrid[: size[0], : size[1]]
    labels = np.zeros(size, int)
    for number in range(1, count + 1):
        x, y, radius = rng.uniform(0, size[1]), rng.uniform(0, size[0]), rng.uniform(5, 10)
        labels[(xs - x) ** 2 + (ys - y) ** 2 <= radius**2] = number
    return labels


def save(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values if values.dtype == np.uint8 else values.astype(np.uint16)).save(path)


def data_folder(folder: Path, names: list[str], *, mpp: float | None = 0.5) -> Path:
    """Images whose painted numbers are their true labels."""
    for number, name in enumerate(names):
        labels = disc_labels(number)
        save(folder / "instances" / f"{name}.png", labels)
        save(folder / "images" / f"{name}.png", paint(labels))
    (folder / "meta.json").write_text(json.dumps({"mpp": mpp}))
    return folder


def test_a_model_that_sees_the_truth_is_perfect(tmp_path: Path) -> None:
    data = data_folder(tmp_path / "set", ["a", "b"])
    found = evaluate_model([data], PAINTED, OPTIONS)
    assert [case.name for case in found.cases] == ["a", "b"]
    assert {estimate.value for estimate in found.all.mean.values()} == {1.0}
    assert found.predicted["sha256"] == PAINTED.spec.sha256


def test_the_way_there_and_back_is_exact_at_the_models_pixel_size() -> None:
    labels = disc_labels(5, count=4)
    found = predict(PAINTED, paint(labels), 0.5, "x")
    np.testing.assert_array_equal(found.labels > 0, labels > 0)
    pairs = np.unique(np.stack([labels.ravel(), found.labels.ravel()]), axis=1)
    assert pairs.shape[1] == len(np.unique(labels)) == len(np.unique(found.labels))


def test_a_finer_picture_comes_back_on_its_own_pixels() -> None:
    coarse = disc_labels(2, (60, 80), count=3)
    fine = coarse.repeat(2, axis=0).repeat(2, axis=1)
    found = predict(PAINTED, paint(fine), 0.25, "x")
    assert found.labels.shape == fine.shape
    assert ((found.labels > 0) == (fine > 0)).mean() > 0.98


def test_a_picture_of_odd_size_keeps_it() -> None:
    found = predict(PAINTED, paint(disc_labels(1, (61, 83))), 0.25, "x")
    assert found.labels.shape == (61, 83)


def test_pixel_size_from_nuclei() -> None:
    labels = np.zeros((40, 40), np.uint32)
    labels[:10, :10], labels[20:30, 20:30] = 1, 2
    assert mpp_of_nuclei(labels) == pytest.approx((NUCLEUS_UM2 / 100) ** 0.5)
    assert mpp_of_nuclei(np.zeros((3, 3), np.uint32)) is None


def test_pixel_size_must_come_from_somewhere(tmp_path: Path) -> None:
    data = data_folder(tmp_path / "set", ["a"], mpp=None)
    with pytest.raises(ConfigurationError, match=r"a\.png: nobody states its pixel size.*--mpp"):
        evaluate_model([data], PAINTED, OPTIONS)
    assert evaluate_model([data], PAINTED, OPTIONS, mpp=0.5).cases[0].facts["mpp"] == 0.5
    told = evaluate_model([data], PAINTED, OPTIONS, mpp="nuclei")
    assert "median nucleus" in str(told.cases[0].facts["mpp_source"])
    assert any("no real slide offers" in warning for warning in told.warnings)


def test_a_column_mpp_is_taken_before_all_else(tmp_path: Path) -> None:
    data = data_folder(tmp_path / "set", ["a"])
    (tmp_path / "g.csv").write_text("name,mpp\nset/a,0.4\n")
    options = Options(resamples=100, groups=tmp_path / "g.csv")
    assert evaluate_model([data], PAINTED, options).cases[0].facts["mpp"] == 0.4


def test_two_annotators(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        labels = disc_labels(ord(name))
        save(tmp_path / "one" / f"{name}.png", labels)
        save(tmp_path / "two" / "instances" / f"{name}.png", labels * 3)
    found = evaluate_labels(tmp_path / "one", tmp_path / "two", OPTIONS)
    assert found.all.images == 3
    assert {estimate.value for estimate in found.all.mean.values()} == {1.0}


def test_a_second_annotator_beside_a_model(tmp_path: Path) -> None:
    data = data_folder(tmp_path / "set", ["a", "b"])
    worse = disc_labels(0).copy()
    worse[worse == worse.max()] = 0
    save(tmp_path / "second" / "a.png", worse)
    told = evaluate_model([data], PAINTED, OPTIONS, second=tmp_path / "second").annotators
    assert told["images"] == 1
    assert told["difference"]["recall@0.50"]["value"] > 0


def test_classes_of_folders(tmp_path: Path) -> None:
    labels = disc_labels(4)
    for side in ("one", "two"):
        save(tmp_path / side / "instances" / "a.png", labels)
        kinds = (1 + labels % 2) * (labels > 0)
        save(tmp_path / side / "classes" / "a.png", kinds.astype(np.uint8))
    options = Options(resamples=100, classes={1: "Tumour", 2: "Other"})
    found = evaluate_labels(tmp_path / "one", tmp_path / "two", options)
    assert found.classes["mpq"]["value"] == found.classes["mpq_plus"]["value"] == 1
    assert set(found.classes["classes"]) == {"Tumour", "Other"}


def test_classes_without_names_are_asked_for(tmp_path: Path) -> None:
    save(tmp_path / "one" / "instances" / "a.png", disc_labels(4))
    save(tmp_path / "one" / "classes" / "a.png", disc_labels(4).astype(np.uint8))
    found = evaluate_labels(tmp_path / "one", tmp_path / "one", OPTIONS)
    assert not found.classes
    assert any("--class" in warning for warning in found.warnings)


def test_files_that_are_missing_are_named(tmp_path: Path) -> None:
    data = data_folder(tmp_path / "set", ["a", "b"])
    (data / "instances" / "b.png").unlink()
    with pytest.raises(ConfigurationError, match=r"instances lacks 1 of the 2 images of .*: b$"):
        evaluate_model([data], PAINTED, OPTIONS)
    with pytest.raises(ConfigurationError, match=r"set lacks 1 of the 2 images of .*images: b$"):
        evaluate_labels(data, data / "images", OPTIONS)


def test_sizes_that_differ_are_named(tmp_path: Path) -> None:
    save(tmp_path / "one" / "a.png", disc_labels(1))
    save(tmp_path / "two" / "a.png", disc_labels(1)[:-1])
    with pytest.raises(ConfigurationError, match=r"one/a\.png has 120 x 96 px.*two/a\.png.* 95 px"):
        evaluate_labels(tmp_path / "one", tmp_path / "two", OPTIONS)


def test_no_pair_at_all(tmp_path: Path) -> None:
    data = data_folder(tmp_path / "set", ["a"])
    options = Options(select=Selection(patterns=["other*"]))
    with pytest.raises(ConfigurationError, match=r"no image is left .*--only"):
        evaluate_model([data], PAINTED, options)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigurationError, match="holds no label images"):
        evaluate_labels(tmp_path / "empty", data, OPTIONS)
    with pytest.raises(ConfigurationError, match="nowhere is not a folder"):
        evaluate_labels(tmp_path / "nowhere", data, OPTIONS)


def test_two_data_folders_of_one_name(tmp_path: Path) -> None:
    one, two = (data_folder(tmp_path / place / "set", ["a"]) for place in ("x", "y"))
    with pytest.raises(ConfigurationError, match="two data folders are named 'set'"):
        evaluate_model([one, two], PAINTED, OPTIONS)


def test_two_sets_are_a_stratum(tmp_path: Path) -> None:
    one, two = (data_folder(tmp_path / name, ["a", "b"]) for name in ("one", "two"))
    found = evaluate_model([one, two], PAINTED, OPTIONS)
    assert set(found.strata["dataset"].levels) == {"one", "two"}
    assert found.all.groups == 4


def test_a_model_of_other_pixels_is_refused(tmp_path: Path) -> None:
    data = data_folder(tmp_path / "set", ["a"])
    save(data / "images" / "a.png", disc_labels(0).astype(np.uint8))
    with pytest.raises(ChannelError, match=r"a\.png"):
        evaluate_model([data], PAINTED, OPTIONS)


def test_a_model_trained_on_the_data_is_told(tmp_path: Path) -> None:
    from dataclasses import replace

    data = data_folder(tmp_path / "set", ["a"])
    model = PaintedSegmenter(replace(mock_spec("m"), trained_on=("SET",)))
    assert any("trained on set" in w for w in evaluate_model([data], model, OPTIONS).warnings)


def test_label_files_of_many_kinds(tmp_path: Path) -> None:
    labels = disc_labels(3)
    np.save(tmp_path / "a.npy", labels.astype(np.int64))
    Image.fromarray(labels.astype(np.int32)).save(tmp_path / "b.tif")
    Image.fromarray(labels.astype(np.float32)).save(tmp_path / "c.tiff")
    Image.fromarray(labels.astype(np.uint8)).save(tmp_path / "d.png")
    indexed = Image.fromarray(labels.astype(np.uint8))
    indexed.putpalette([value for i in range(256) for value in (255 - i, 0, i)])
    indexed.save(tmp_path / "e.png")
    for name in ("a.npy", "b.tif", "c.tiff", "d.png", "e.png"):
        np.testing.assert_array_equal(read_labels(tmp_path / name), labels)


def test_what_is_no_label_image_is_named(tmp_path: Path) -> None:
    save(tmp_path / "colour.png", paint(disc_labels(0)))
    (tmp_path / "text.png").write_text("no picture")
    np.save(tmp_path / "pickled.npy", np.array([{}], object), allow_pickle=True)
    for name in ("colour.png", "text.png", "pickled.npy"):
        with pytest.raises(ConfigurationError, match=name):
            read_labels(tmp_path / name)
    Image.new("L", (20_000, 6_000)).save(tmp_path / "large.png")
    with pytest.raises(ConfigurationError, match=r"large\.png has 20000 x 6000 px.*--run"):
        read_labels(tmp_path / "large.png")


def test_an_alpha_channel_is_left_out(tmp_path: Path) -> None:
    rgba = np.random.default_rng(0).integers(0, 256, (5, 6, 4), np.uint8)
    save(tmp_path / "a.png", rgba)
    np.testing.assert_array_equal(read_pixels(tmp_path / "a.png"), rgba[..., :3])
    grey = Image.fromarray(rgba[..., :2].copy(), "LA")
    grey.save(tmp_path / "b.png")
    np.testing.assert_array_equal(read_pixels(tmp_path / "b.png"), rgba[..., :1])


def test_groups_and_strata_from_a_table(tmp_path: Path) -> None:
    data = data_folder(tmp_path / "set", ["a", "b", "c"])
    table = tmp_path / "g.csv"
    table.write_text("name,group,scanner\na,p1,X\nb,p1,Y\nset/c,p2,Y\n")
    found = evaluate_model([data], PAINTED, Options(groups=table, resamples=100))
    assert [case.group for case in found.cases] == ["p1", "p1", "p2"]
    assert found.strata["scanner"].levels["Y"].images == 2
    table.write_text("name,group\na,p1\n")
    with pytest.raises(ConfigurationError, match=r"g\.csv has no line for b"):
        evaluate_model([data], PAINTED, Options(groups=table))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("image,group\na,b\n", "no column 'name'"),
        ("name,group\na,b\na,c\n", "stands there twice"),
        ("name,group\na\n", "line 2: not 2 fields"),
        ("name,truth\na,b\n", "is taken"),
        ("", "no column 'name'"),
    ],
)
def test_a_table_that_cannot_be_used(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "g.csv").write_text(text)
    with pytest.raises(ConfigurationError, match=reason):
        GroupTable.read(tmp_path / "g.csv")


def test_patients_of_tcga() -> None:
    assert tcga_patient("TCGA-18-5592-01Z-00-DX1") == "TCGA-18-5592"
    assert tcga_patient("TCGA-18-55") is None
    assert tcga_patient("01_2") is None


def test_splits(tmp_path: Path) -> None:
    file = tmp_path / "splits.json"
    file.write_text(json.dumps({"free": {"val": ["S/a"]}}))
    chosen = Selection(read_split(f"{file}:free/val"))
    assert chosen.takes("S", "a")
    assert not chosen.takes("S", "b")
    assert not chosen.takes("T", "a")
    with pytest.raises(ConfigurationError, match="at 'test' it has val"):
        read_split(f"{file}:free/test")
    with pytest.raises(ConfigurationError, match="no list"):
        read_split(f"{file}:free")


def test_a_split_that_is_not_all_there_is_refused(tmp_path: Path) -> None:
    data = data_folder(tmp_path / "S", ["a"])
    partly = Options(select=Selection(frozenset(["S/a", "S/b"])), resamples=100)
    with pytest.raises(ConfigurationError, match="lacks 1 of the 2 images that the split names"):
        evaluate_model([data], PAINTED, partly)
    other = Options(select=Selection(frozenset(["S/a", "T/b"])), resamples=100)
    assert "other data sets too: T" in evaluate_model([data], PAINTED, other).warnings[0]


def test_masks_in_place_of_labels_are_doubted(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(tmp_path / "one" / f"{name}.png", disc_labels(1))
        mask = Image.fromarray((disc_labels(1) > 0).astype(np.uint8) * 255)
        (tmp_path / "two").mkdir(exist_ok=True)
        mask.save(tmp_path / "two" / f"{name}.png")
    found = evaluate_labels(tmp_path / "one", tmp_path / "two", OPTIONS)
    assert any("no predicted label image has more than one" in w for w in found.warnings)


def test_patterns() -> None:
    chosen = Selection(patterns=["S/0*", "b?"])
    assert chosen.takes("S", "01")
    assert not chosen.takes("T", "01")
    assert chosen.takes("T", "b1")


def test_the_real_breast_set_is_grouped_by_patient(shared: Path) -> None:
    data = shared / "data" / "nuclei" / "TNBC"
    options = Options(select=Selection(patterns=["07_1", "07_2", "09_1"]), resamples=200)
    found = evaluate_model([data], load_segmenter("classical-he"), options)
    assert [case.group for case in found.cases] == ["07", "07", "09"]
    assert 0.3 < found.all.mean["f1@0.50"].value < 0.9


def test_fluorescence_models_refuse_colour(shared: Path) -> None:
    data = shared / "data" / "nuclei" / "TNBC"
    options = Options(select=Selection(patterns=["07_1"]))
    with pytest.raises(ChannelError, match="--channel") as raised:
        evaluate_model([data], load_segmenter("classical-fluo"), options)
    assert "07_1.png" in str(raised.value)
