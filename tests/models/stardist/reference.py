"""Run by another Python, in which stardist, TensorFlow and tf-keras are installed, never by ours.

``reference.py keras2|keras3 FOLDER`` makes small networks with random weights, saves them in every
format that Keras of that version can write, and keeps what they answer.
``reference.py instances FOLDER`` makes maps and keeps what StarDist makes of them.
``reference.py tiny FOLDER`` makes the network that lies beside the tests in ``true_files.zip``.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

MODE, FOLDER = sys.argv[1], Path(sys.argv[2])
os.environ["TF_USE_LEGACY_KERAS"] = "0" if MODE == "keras3" else "1"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np  # noqa: E402

VARIANTS: dict[str, dict[str, Any]] = {
    "published": {"grid": (2, 2), "n_channel_in": 3, "unet_n_filter_base": 8},
    "fluorescence": {
        "n_rays": 16,
        "unet_n_depth": 2,
        "unet_n_filter_base": 6,
        "net_conv_after_unet": 0,
        "unet_last_activation": "linear",
    },
    "normalised": {
        "n_rays": 24,
        "grid": (4, 4),
        "n_channel_in": 3,
        "unet_n_depth": 1,
        "unet_n_filter_base": 5,
        "unet_batch_norm": True,
        "unet_prefix": "net_",
        "unet_activation": "elu",
        "unet_dropout": 0.2,
    },
    "classes": {
        "n_rays": 8,
        "grid": (2, 2),
        "n_channel_in": 3,
        "n_classes": 3,
        "unet_n_depth": 2,
        "unet_n_filter_base": 4,
        "unet_n_conv_per_depth": 3,
        "unet_kernel_size": (5, 3),
        "net_conv_after_unet": 9,
    },
    "odd": {
        "n_rays": 8,
        "grid": (2, 2),
        "n_channel_in": 3,
        "n_classes": 2,
        "unet_n_depth": 1,
        "unet_n_filter_base": 4,
        "unet_pool": (2, 4),
        "unet_n_conv_per_depth": 1,
        "unet_kernel_size": (4, 4),
        "net_conv_after_unet": 0,
        "unet_expansion": 1.5,
        "unet_activation": "tanh",
    },
}
TINY = {
    "n_rays": 8,
    "grid": (2, 2),
    "unet_n_depth": 1,
    "unet_n_filter_base": 2,
    "unet_batch_norm": True,
    "net_conv_after_unet": 4,
}
"""A network small enough to be kept beside the tests."""


def make(name: str, settings: dict[str, Any], seed: int) -> Any:
    """A network with random weights in ``FOLDER/NAME``, and its answers in ``FOLDER/NAME.npz``."""
    from stardist.models import Config2D, StarDist2D

    shutil.rmtree(FOLDER / name, ignore_errors=True)
    config = Config2D(train_tensorboard=False, **settings)
    model = StarDist2D(config, name=name, basedir=str(FOLDER))
    rng = np.random.default_rng(seed)
    for layer in model.keras_model.layers:
        values = []
        for weight in layer.get_weights():
            if weight.ndim == 4:
                spread = (2.5 / np.prod(weight.shape[:3])) ** 0.5
                values.append(rng.normal(0, spread, weight.shape))
            else:
                middle = 4.0 if layer.name == "dist" else 0.1
                values.append(rng.uniform(0.5, 1.5, weight.shape) * middle)
        if len(values) == 4:
            values[0], values[3] = values[0] * 10, values[3] * 10
        layer.set_weights([value.astype(np.float32) for value in values])
    side = (32, 48) if MODE == "tiny" else (64, 96)
    pixels = rng.uniform(-0.2, 1.2, (1, *side, config.n_channel_in)).astype(np.float32)
    answers = model.keras_model.predict(pixels, verbose=0)
    named = {f"y{k}": answer for k, answer in enumerate(answers)}
    np.savez(FOLDER / f"{name}.npz", x=pixels, **named)
    (FOLDER / name / "thresholds.json").write_text(json.dumps({"prob": 0.5, "nms": 0.4}))
    names = ", ".join(f'"{k}"' for k in range(config.n_classes or 0))
    (FOLDER / name / "wsiseg.toml").write_text(f"mpp = 0.5\nclasses = [{names}]\n")
    return model


def beside(name: str, kind: str) -> Path:
    """A folder for the same network in another format."""
    folder = FOLDER / f"{name}-{kind}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for file in ("config.json", "thresholds.json", "wsiseg.toml"):
        shutil.copy(FOLDER / name / file, folder / file)
    return folder


def save_keras2(models: dict[str, Any]) -> None:
    """All formats that StarDist and tensorflowjs write."""
    import tensorflow

    for name, model in models.items():
        model.keras_model.save_weights(str(FOLDER / name / "weights_best.h5"))
        model.keras_model.save(str(beside(name, "whole") / "model.h5"))
        tensorflow.saved_model.save(model.keras_model, str(beside(name, "tensorflow2")))
        save_tfjs(name, model)
    # It changes to TensorFlow 1's ways, after which nothing else can be saved.
    for name, model in models.items():
        if model.config.n_classes is None:
            packed = beside(name, "packed") / "TF_SavedModel.zip"
            model.export_TF(str(packed))
            with zipfile.ZipFile(packed) as archive:
                archive.extractall(beside(name, "tensorflow1"))


def save_tfjs(name: str, model: Any) -> None:
    """TensorFlow.js, where its converter is installed; what it imports besides is not needed."""
    for absent in ("tensorflow_decision_forests", "tensorflow_hub", "jax", "jax.experimental"):
        sys.modules.setdefault(absent, types.ModuleType(absent))
    sys.modules.setdefault("jax.experimental.jax2tf", types.ModuleType("jax.experimental.jax2tf"))
    try:
        import tensorflowjs
    except ImportError:
        return
    save = tensorflowjs.converters.save_keras_model
    save(model.keras_model, str(beside(name, "tfjs")))
    save(model.keras_model, str(beside(name, "tfjs16")), quantization_dtype_map={"float16": "*"})


def save_keras3(models: dict[str, Any]) -> None:
    """The format of Keras 3."""
    for name, model in models.items():
        model.keras_model.save_weights(str(FOLDER / name / "weights_best.weights.h5"))


def nuclei(shape: tuple[int, int], count: int, seed: int) -> Any:
    """Ellipses at random, later ones over earlier ones."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.int32)
    y, x = np.indices((61, 61)) - 30
    for value in range(1, count + 1):
        radius, flat, turn = rng.uniform(4, 13), rng.uniform(0.6, 1), rng.uniform(0, np.pi)
        u, v = np.cos(turn) * x + np.sin(turn) * y, np.cos(turn) * y - np.sin(turn) * x
        places = np.argwhere((u / radius) ** 2 + (v / radius / flat) ** 2 <= 1) - 30
        places += [rng.integers(0, shape[0]), rng.integers(0, shape[1])]
        inside = ((places >= 0) & (places < shape)).all(axis=1)
        labels[tuple(places[inside].T)] = value
    return labels


def save_instances() -> None:
    """Maps, the polygons that StarDist keeps of them, and the labels it draws."""
    from stardist import edt_prob, star_dist
    from stardist.geometry import polygons_to_label
    from stardist.nms import non_maximum_suppression

    settings = [(2, 32, 0.4, 0.5, 0.3), (1, 32, 0.3, 0.4, 0.3), (4, 64, 0.5, 0.3, 0.6)]
    for number, (step, rays, overlap, probability, noise) in enumerate(settings):
        labels, rng = nuclei((512, 640), 900, number), np.random.default_rng(number)
        rays_there = star_dist(labels, rays, grid=(step, step))
        dist = rays_there + rng.normal(0, noise, rays_there.shape)
        dist = np.maximum(1e-3, dist).astype(np.float32)
        inner = edt_prob(labels)[::step, ::step]
        # Of equal probabilities StarDist takes whichever its sorting leaves first: there are none.
        logits = (6 * inner - 3 + rng.normal(0, 0.3, inner.shape)).astype(np.float32)
        order = np.argsort(logits, axis=None)
        logits.flat[order] = np.sort(logits, axis=None) + np.arange(logits.size) * 4e-6
        prob = 1 / (1 + np.exp(-logits.astype(np.float64)))
        points, found, rays_kept = non_maximum_suppression(
            dist, prob, (step, step), b=0, nms_thresh=overlap, prob_thresh=probability
        )
        np.savez(
            FOLDER / f"instances{number}.npz",
            dist=dist,
            logits=logits,
            points=points,
            labels=polygons_to_label(rays_kept, points, labels.shape, prob=found),
            settings=np.array([step, rays, overlap, probability]),
        )


FOLDER.mkdir(exist_ok=True)
if MODE == "instances":
    save_instances()
elif MODE == "tiny":
    save_keras2({"tiny": make("tiny", TINY, 5)})
else:
    made = {name: make(name, kind, seed) for seed, (name, kind) in enumerate(VARIANTS.items())}
    (save_keras3 if MODE == "keras3" else save_keras2)(made)
