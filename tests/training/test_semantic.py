"""Training of classes of tissue, from labels to a network that --tissue takes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from wsiseg.errors import ConfigurationError
from wsiseg.files import write_json
from wsiseg.training.semantic.config import UNLABELLED, SemanticConfig, read_semantic_config

torch = pytest.importorskip("torch")

from tissue_networks import noise  # noqa: E402
from wsiseg.models.semantic.files import find_semantic  # noqa: E402
from wsiseg.slides.array_reader import ArrayReader  # noqa: E402
from wsiseg.slides.slide import Slide  # noqa: E402
from wsiseg.tissue import TissueCode, tissue_by_network  # noqa: E402
from wsiseg.training.api import train  # noqa: E402
from wsiseg.training.config import kind_of  # noqa: E402
from wsiseg.training.progress import Step  # noqa: E402
from wsiseg.training.sampling import Placement  # noqa: E402
from wsiseg.training.semantic.loop import class_loss, initial_network  # noqa: E402
from wsiseg.training.semantic.samples import ClassSamples, crop_codes  # noqa: E402
from wsiseg.training.semantic.scores import ClassScores, count_pixels  # noqa: E402
from wsiseg.training.semantic.tiles import load_class_tiles  # noqa: E402

CONFIG = """
kind = "semantic"
[model]
name = "two"
mpp = 2.0
encoder_weights = "none"
levels = 2
widths = [16]
head = 16
grid = 2
[[classes]]
name = "Glass"
color = [255, 255, 255]
counts = "background"
[[classes]]
name = "Tumour"
color = [200, 0, 0]
annotations = ["Tumor", "Invasive"]
{sets}
[schedule]
steps = {steps}
batch = 4
crop_px = 64
rate = 5e-3
warmup = 5
average = 0.9
checkpoint_every = 10
validate_every = 20
precision = "float32"
workers = 0
"""

FOLDER = """
[[data.sets]]
name = "{part}"
folder = "{part}"
part = "{part}"
mpp = 2.0
licence = "CC0-1.0"
"""


def picture(seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Purple shapes on glass, and what they are."""
    shape = noise(96, 112, seed)[..., 0] > 128
    pixels = np.where(shape[..., None], (150, 70, 150), (240, 240, 238)).astype(np.uint8)
    return pixels, shape.astype(np.uint8)


def write_folder(root: Path, part: str, count: int) -> None:
    for number in range(count):
        pixels, codes = picture(number if part == "train" else 100 + number)
        codes[:6] = UNLABELLED
        for name, values in (("images", pixels), ("classes", codes)):
            place = root / part / name
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(place / f"{number}.png")


def write_config(root: Path, steps: int = 40, sets: str | None = None) -> Path:
    text = sets if sets is not None else FOLDER.format(part="train") + FOLDER.format(part="val")
    path = root / "config.toml"
    path.write_text(CONFIG.format(steps=steps, sets=text))
    return path


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_folder(folder, "train", 3)
    write_folder(folder, "val", 2)
    return folder


@pytest.fixture(scope="module")
def trained(root: Path) -> Path:
    train(write_config(root), root / "net", quiet)
    return root / "net"


def quiet(step: Step) -> None:
    assert step.step <= step.steps


def test_what_was_trained_finds_tissue(trained: Path) -> None:
    pixels, codes = picture(200)
    pixels, codes = (
        np.pad(p, ((40, 40), (40, 40)) + ((0, 0),) * (p.ndim - 2), constant_values=v)
        for p, v in ((pixels, 240), (codes, 0))
    )
    with Slide(ArrayReader(pixels, 2.0)) as slide:
        mask = tissue_by_network(slide, str(trained))
    assert mask.classes is not None
    found = mask.classes.read(mask.classes.frame.box)
    truth = codes[1::2, 1::2]
    assert (found == truth).mean() > 0.95
    assert (mask.codes == TissueCode.TISSUE).any()


def test_the_folder_says_all(trained: Path) -> None:
    described = find_semantic(str(trained)).described
    assert [c.name for c in described.classes] == ["Glass", "Tumour"]
    assert described.data_licence == "CC0-1.0"
    assert described.trained_on == ("train",)
    assert described.network.reach_px is not None
    card = (trained / "CARD.md").read_text()
    assert "| Tumour | tissue | (200, 0, 0) |" in card
    log = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    assert log[-1]["held_iou_Tumour"] > 0.8
    assert log[-1]["loss"] < log[0]["loss"]
    assert (trained / "curves.png").stat().st_size > 1000


def test_training_goes_on_to_the_same_weights(root: Path) -> None:
    whole, parts = root / "whole", root / "parts"
    train(write_config(root, 20), whole, quiet)

    class StopError(Exception):
        pass

    def stop(step: Step) -> None:
        raise StopError

    config = write_config(root, 20)
    with pytest.raises(StopError):
        train(config, parts, stop)
    train(config, parts, quiet)
    assert (whole / "model.safetensors").read_bytes() == (parts / "model.safetensors").read_bytes()
    config.write_text(config.read_text().replace("rate = 5e-3", "rate = 4e-3"))
    with pytest.raises(ConfigurationError, match="other settings"):
        train(config, parts, quiet)


def test_pixels_without_a_label_count_for_nothing() -> None:
    logits = torch.randn(2, 3, 8, 8, requires_grad=True)
    truth = torch.randint(0, 3, (2, 8, 8))
    truth[:, :4] = UNLABELLED
    class_loss(logits, truth).backward()
    assert logits.grad is not None
    assert (logits.grad[:, :, :4] == 0).all()
    assert (logits.grad[:, :, 4:] != 0).any()
    assert float(class_loss(logits, torch.full_like(truth, UNLABELLED))) == 0
    perfect = torch.nn.functional.one_hot(truth.clamp(max=2), 3).permute(0, 3, 1, 2) * 50.0
    assert float(class_loss(perfect, truth)) < 0.01


def test_labels_follow_the_pixels() -> None:
    codes = np.arange(48, dtype=np.uint8).reshape(6, 8)
    plain = Placement((4.0, 3.0), 1.0, 0.0, False).matrix()
    out = crop_codes(codes, plain, 8, 2)
    assert np.array_equal(out[:3], codes[::2, 1::2])
    assert (out[3] == UNLABELLED).all()
    mirrored = crop_codes(codes, Placement((4.0, 3.0), 1.0, 0.0, True).matrix(), 8, 1)
    assert np.array_equal(mirrored[1:7], codes[:, ::-1])


def test_samples_hang_on_their_number_alone(root: Path) -> None:
    config = read_semantic_config(write_config(root))
    tiles = load_class_tiles(config, "train")
    one, two = ClassSamples(config, tiles, 0, 9)[7], ClassSamples(config, tiles, 7, 2)[0]
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_scores() -> None:
    truth = np.array([[0, 0, 1, 1, 255]], np.uint8)
    found = np.array([[0, 1, 1, 1, 0]], np.uint8)
    scores = ClassScores(("a", "b", "c"), count_pixels(truth, found, 3))
    assert scores.iou["a"] == pytest.approx(1 / 2)
    assert scores.iou["b"] == pytest.approx(2 / 3)
    assert scores.dice["b"] == pytest.approx(4 / 5)
    assert np.isnan(scores.iou["c"])


def polygon(x0: float, y0: float, x1: float, y1: float, name: str) -> Mapping[str, object]:
    ring = [[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]]
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"objectType": "annotation", "classification": name},
    }


def test_regions_on_slides_are_labels(tmp_path: Path, shared: Path) -> None:
    slide = shared / "data" / "slides" / "CMU-1-Small-Region.svs"
    features = [
        polygon(400, 800, 1200, 1600, "tumor"),
        polygon(600, 1000, 800, 1200, "Glass"),
        polygon(0, 0, 100, 100, "Unknown"),
    ]
    write_json(tmp_path / "r.geojson", {"type": "FeatureCollection", "features": features})
    sets = "".join(
        f'[[data.slides]]\nname = "{part}"\nslide = "{slide}"\nannotations = "r.geojson"\n'
        f'part = "{part}"\nlicence = "CC0-1.0"\n'
        for part in ("train", "val")
    )
    config = read_semantic_config(write_config(tmp_path, sets=sets))
    (tile,) = load_class_tiles(config, "train")
    mm = 0.499 / 2.0
    counts = np.bincount(tile.codes.ravel(), minlength=256)
    assert counts[0] == pytest.approx((200 * mm) ** 2, rel=0.03)
    assert counts[1] == pytest.approx((800 * mm) ** 2 - (200 * mm) ** 2, rel=0.03)
    assert counts[UNLABELLED] > 0
    assert tile.pixels.shape[:2] == tile.codes.shape
    empty = config.model_copy(
        update={
            "classes": (config.classes[0].model_copy(update={"name": "Fat", "annotations": ()}),)
            * 1
            + config.classes[:0]
        }
    )
    with pytest.raises(ConfigurationError, match="no region has one of the classes"):
        load_class_tiles(empty, "train")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "Tumour"', 'name = "glass"', "same name"),
        ("head = 16", "head = 16\nsurprise = 1", "surprise"),
        ('part = "val"', 'part = "train"', 'part = "val"'),
        ("crop_px = 64", "crop_px = 65", "crop_px"),
    ],
)
def test_bad_configurations(root: Path, tmp_path: Path, old: str, new: str, message: str) -> None:
    text = write_config(root).read_text().replace(old, new)
    (tmp_path / "bad.toml").write_text(text)
    with pytest.raises(ConfigurationError, match=message):
        read_semantic_config(tmp_path / "bad.toml")


def test_data_that_cannot_be_used(root: Path, tmp_path: Path) -> None:
    config = read_semantic_config(write_config(tmp_path))
    with pytest.raises(ConfigurationError, match="holds no images"):
        load_class_tiles(config, "train")
    write_folder(tmp_path, "train", 1)
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(tmp_path / "train" / "classes" / "0.png")
    with pytest.raises(ConfigurationError, match="the size of its image"):
        load_class_tiles(config, "train")


def test_encoder_weights_from_a_file(root: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    from wsiseg.models._torchvision import import_timm

    model = import_timm().create_model("efficientnet_lite0", pretrained=False)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    save_file(state, tmp_path / "e.safetensors")
    torch.save({"state_dict": state}, tmp_path / "e.pth")
    torch.save({"state_dict": Path("x")}, tmp_path / "bad.pth")
    config = read_semantic_config(write_config(root))

    def begun(name: str) -> SemanticConfig:
        path = config.model.model_copy(update={"encoder_weights": tmp_path / name})
        return config.model_copy(update={"model": path})

    for name in ("e.safetensors", "e.pth"):
        network = initial_network(begun(name))
        stem = network.encoder.state_dict()["model.conv_stem.weight"]
        assert torch.equal(stem, state["conv_stem.weight"])
    with pytest.raises(ConfigurationError, match="more than plain tensors"):
        initial_network(begun("bad.pth"))
    with pytest.raises(ConfigurationError, match="cannot be made"):
        initial_network(begun("missing.safetensors"))


def test_the_kind_decides(root: Path, tmp_path: Path) -> None:
    assert kind_of(write_config(root)) == "semantic"
    (tmp_path / "n.toml").write_text("[model]\n")
    assert kind_of(tmp_path / "n.toml") == "nuclei"
    assert kind_of(tmp_path / "absent.toml") == "nuclei"


def test_the_package_tells_how_its_network_was_trained() -> None:
    root = Path(__file__).parents[2]
    config = read_semantic_config(root / "workflows" / "train-tissue.toml")
    described = find_semantic("tissue").described
    assert described.classes == config.described
    assert described.trained_on == tuple(e.name for e in config.data.sources if e.part == "train")
    assert described.mpp == config.model.mpp
    assert described.tidying == config.model.tidying
    assert described.network.widths == config.model.widths
