"""Configuration, tiles, crops, targets and augmentation."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from wsiseg.errors import ConfigurationError
from wsiseg.training.augment import augment
from wsiseg.training.config import (
    Augmentation,
    Data,
    DataSet,
    Model,
    Schedule,
    TrainingConfig,
    read_config,
)
from wsiseg.training.prepare import changed, plain
from wsiseg.training.sampling import (
    FINE,
    MARGIN,
    Placement,
    crop_labels,
    crop_pixels,
    foreground_target,
    star_targets,
)
from wsiseg.training.sources import load_part
from wsiseg.training.tiles import load_tiles

MINIMAL = """
[data]
root = "data"
split = "free"
[[data.sets]]
name = "A"
mpp = 0.25
licence = "CC0-1.0"
[model]
name = "mine"
[schedule]
steps = 10
"""


FLUORESCENCE = TrainingConfig(
    data=Data(sets=(DataSet(name="A", mpp=0.5, licence="CC0-1.0"),)),
    model=Model(name="m", illumination="fluorescence"),
    schedule=Schedule(steps=1),
)


def disc(side: int, radius: float) -> NDArray[np.int32]:
    y, x = np.mgrid[:side, :side] + 0.5 - side / 2
    return np.asarray(x**2 + y**2 < radius**2, np.int32)


def upright(side: float, step: float) -> NDArray[np.float64]:
    return Placement((side / 2, side / 2), step, 0.0, False).matrix()


def test_config_takes_paths_from_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "train.toml"
    path.write_text(MINIMAL)
    config = read_config(path)
    assert config.data.root == (tmp_path / "data").resolve()
    assert config.schedule.steps == 10


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("steps = 10", "steps = 10\nstep = 3", "step"),
        ("mpp = 0.25", "mpp = 0.25\nmedian_area_um2 = 20.0", "either mpp or median_area_um2"),
        ("mpp = 0.25\n", "", "either mpp or median_area_um2"),
        ("steps = 10", "steps = 0", "steps"),
        ("[data]", "[data", "not a usable"),
    ],
)
def test_config_refuses(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "train.toml"
    path.write_text(MINIMAL.replace(old, new))
    with pytest.raises(ConfigurationError, match=message):
        read_config(path)


def write_tile(root: Path, key: str, labels: NDArray[np.int32]) -> None:
    folder, name = key.split("/")
    for part in ("images", "instances"):
        (root / folder / part).mkdir(parents=True, exist_ok=True)
    pixels = np.repeat((220 - 90 * (labels > 0)).astype(np.uint8)[..., None], 3, axis=2)
    Image.fromarray(pixels).save(root / folder / "images" / f"{name}.png")
    Image.fromarray(labels.astype(np.uint16)).save(root / folder / "instances" / f"{name}.png")


def test_tiles_without_mpp_are_scaled_by_their_nuclei(tmp_path: Path) -> None:
    write_tile(tmp_path, "A/one", disc(64, 20))
    (tmp_path / "splits.json").write_text(json.dumps({"free": {"train": ["A/one"], "val": []}}))
    sets = (DataSet(name="A", median_area_um2=np.pi * 25, licence="CC0-1.0"),)
    (tile,) = load_tiles(Data(root=tmp_path, split="free", sets=sets), "train", "brightfield")
    assert tile.mpp == pytest.approx(0.25, rel=0.02)


def test_a_set_may_belong_to_one_part_and_lie_elsewhere(tmp_path: Path) -> None:
    for key in ("A/one", "A/two", "B/one"):
        write_tile(tmp_path / "elsewhere", key, disc(64, 20))
    (tmp_path / "mine.json").write_text(json.dumps({"s": {"train": ["B/one"], "val": ["B/one"]}}))
    config = tmp_path / "train.toml"
    config.write_text(
        MINIMAL.replace('"data"', '"elsewhere"')
        .replace('split = "free"', 'split = "s"\nsplits = "mine.json"')
        .replace('name = "A"', 'name = "self"\nfolder = "elsewhere/A"\npart = "train"')
        .replace("[model]", '[[data.sets]]\nname = "B"\nmpp = 0.5\nlicence = "MIT"\n[model]')
    )
    data = read_config(config).data
    found = {part: [tile.key for tile in load_part(data, part)] for part in ("train", "val")}
    assert found == {"train": ["B/one", "self/one", "self/two"], "val": ["B/one"]}
    empty = data.sets[0].model_copy(update={"folder": tmp_path})
    with pytest.raises(ConfigurationError, match="holds no images"):
        load_part(data.model_copy(update={"sets": (empty,)}), "train")


def test_fluorescence_wants_one_channel(tmp_path: Path) -> None:
    write_tile(tmp_path, "A/one", disc(64, 20))
    (tmp_path / "splits.json").write_text(json.dumps({"free": {"train": ["A/one"], "val": []}}))
    sets = (DataSet(name="A", mpp=0.5, licence="CC0-1.0"),)
    data = Data(root=tmp_path, split="free", sets=sets)
    with pytest.raises(ConfigurationError, match="one channel"):
        load_part(data, "train", "fluorescence")
    deep = np.full((64, 64), 40_000, np.uint16)
    Image.fromarray(deep).save(tmp_path / "A" / "images" / "one.png")
    (tile,) = load_part(data, "train", "fluorescence")
    assert tile.pixels.dtype == np.uint16
    assert tile.pixels.shape == (64, 64, 1)
    assert (tile.pixels == 40_000).all()


def glowing(dtype: type, top: int) -> NDArray:
    """Nuclei of two brightnesses on a dark ground, ``[y, x, 1]``."""
    random = np.random.default_rng(0)
    shares = 0.05 + 0.55 * disc(96, 30) + 0.3 * disc(96, 10) + random.normal(0, 0.01, (96, 96))
    return (np.clip(shares, 0, 1) * top).astype(dtype)[..., np.newaxis]


def test_levels_do_not_hang_on_the_range_of_the_camera() -> None:
    shown = [
        plain(pixels.astype(np.float32), pixels, FLUORESCENCE)
        for pixels in (glowing(np.uint8, 200), glowing(np.uint16, 200 * 257))
    ]
    assert np.abs(shown[0].astype(int) - shown[1]).max() <= 4
    assert shown[0][2, 2, 0] > shown[0][30, 30, 0] > shown[0][48, 48, 0]


def test_changes_of_fluorescence_repeat_with_their_seed_and_keep_nuclei_dark() -> None:
    pixels = glowing(np.uint16, 5000)
    picture = pixels.astype(np.float32)
    inside = disc(96, 28).astype(bool)
    for seed in range(20):
        first, again = (
            changed(picture, pixels, FLUORESCENCE, np.random.default_rng(seed)) for _ in range(2)
        )
        assert first.dtype == np.uint8
        assert np.array_equal(first, again)
        assert first[inside].mean() + 20 < first[~disc(96, 36).astype(bool)].mean()
    other = changed(picture, pixels, FLUORESCENCE, np.random.default_rng(99))
    assert not np.array_equal(first, other)


def test_tiles_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    splits = {"free": {"train": ["A/none"], "val": ["B/x"]}}
    (tmp_path / "splits.json").write_text(json.dumps(splits))
    data = Data(root=tmp_path, split="free", sets=(DataSet(name="A", mpp=0.5, licence="CC0-1.0"),))
    with pytest.raises(ConfigurationError, match="A/none"):
        load_tiles(data, "train", "brightfield")
    with pytest.raises(ConfigurationError, match="no tile and no annotated area"):
        load_part(data, "val")
    with pytest.raises(ConfigurationError, match="other/train"):
        load_tiles(data.model_copy(update={"split": "other"}), "train", "brightfield")


def test_halving_averages_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    crop = crop_pixels(pixels, upright(64, 2.0), 32, 2)
    means = pixels.reshape(32, 2, 32, 2, 3).mean(axis=(1, 3))
    assert np.allclose(crop, means, atol=1e-3)


def test_beyond_the_border_the_tile_is_mirrored() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    crop = crop_pixels(pixels, upright(40, 1.0), 64, 1)
    expected = np.pad(pixels, ((12, 12), (12, 12), (0, 0)), "symmetric")
    assert np.allclose(crop, expected, atol=1e-3)


def test_turned_labels_lie_under_turned_pixels() -> None:
    labels = np.zeros((96, 96), np.int32)
    labels[20:40, 50:80] = 1
    pixels = np.repeat((200 * labels).astype(np.uint8)[..., None], 3, axis=2)
    matrix = Placement((50.0, 45.0), 1.3, 0.7, True).matrix()
    picture = crop_pixels(pixels, matrix, 48, 2)[..., 0]
    target = foreground_target(crop_labels(labels, matrix, 48), 48, 2)
    shares = np.zeros((48, 48))
    for channel in range(4):
        shares[channel // 2 :: 2, channel % 2 :: 2] = target[channel]
    assert 100 < shares.sum() < 1000
    assert np.abs(picture / 200 - shares).mean() < 0.02


def test_targets_of_a_disc() -> None:
    fine = crop_labels(disc(64, 12), upright(64, 1.0), 64)
    assert fine.shape == (FINE * (64 + 2 * MARGIN),) * 2
    probability, rays = star_targets(fine, 64, 32, 2)
    assert probability.max() == 1
    y, x = np.unravel_index(int(probability[0].argmax()), probability[0].shape)
    assert abs(2 * y + 1 - 32) <= 1
    assert abs(2 * x + 1 - 32) <= 1
    angles = 2 * np.pi * np.arange(32) / 32
    along = (2 * x + 1 - 32) * np.cos(angles) + (2 * y + 1 - 32) * np.sin(angles)
    off = (2 * x + 1 - 32) ** 2 + (2 * y + 1 - 32) ** 2
    expected = np.sqrt(along**2 - off + 12.0**2) - along
    assert rays[:, y, x] == pytest.approx(expected, abs=0.8)
    assert (rays[:, probability[0] == 0] == 0).all()
    # Opposite rays of one place add up to a chord through it.
    assert rays[0, y, x] + rays[16, y, x] == pytest.approx(24.0, abs=1.0)


def test_rays_do_not_end_at_the_border_of_the_crop() -> None:
    whole = crop_labels(disc(96, 12), upright(96, 1.0), 96)
    shifted = crop_labels(disc(96, 12), Placement((78.0, 48.0), 1.0, 0.0, False).matrix(), 64)
    _, rays = star_targets(whole, 96, 32, 2)
    _, at_border = star_targets(shifted, 64, 32, 2)
    assert at_border[:, 16, 0] == pytest.approx(rays[:, 24, 23])


def test_augmentation_repeats_with_its_seed_and_changes_with_another() -> None:
    picture = np.random.default_rng(0).uniform(0, 255, (32, 32, 3)).astype(np.float32)
    first, again, other = (
        augment(picture, Augmentation(), np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert first.dtype == np.uint8
    assert first.shape == picture.shape
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_augmentation_of_no_strength_changes_little() -> None:
    picture = np.random.default_rng(0).uniform(150, 230, (8, 8, 3)).astype(np.float32)
    picture = np.kron(picture, np.ones((8, 8, 1), np.float32))
    none = Augmentation(
        stain_gain=0,
        stain_shift=0,
        stain_turn=0,
        channel_gain=0,
        brightness=0,
        contrast=0,
        gamma=0,
        saturation=0,
        grey=0,
        blur_px=0.2,
        sharpen=0,
        noise=0,
        jpeg=(100, 100),
    )
    for seed in range(5):
        changed = augment(picture, none, np.random.default_rng(seed))
        assert np.abs(changed - picture).mean() < 4
