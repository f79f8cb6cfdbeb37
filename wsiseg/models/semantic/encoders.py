"""Encoders of timm's: feature maps fine to coarse, whatever the family."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from wsiseg.errors import ModelError
from wsiseg.models._torchvision import import_timm

_FINEST_OF_PYRAMID = 4
_LAYERS = {"swiglu_packed": "SwiGLUPacked", "swiglu": "SwiGLU"}


@dataclass(frozen=True, slots=True)
class EncoderFacts:
    """What timm says of a model: normalisation, and whether its window has one size only."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    fixed: bool


def encoder_facts(name: str) -> EncoderFacts:
    """What timm says of a model.

    Raises
    ------
    ModelError
        If it has none of that name.
    """
    timm = import_timm()
    try:
        found = timm.get_pretrained_cfg(name)
    except (RuntimeError, ValueError) as error:
        raise ModelError(f"timm has no model {name!r}: {error}") from error
    if found is None:
        raise ModelError(f"timm {timm.__version__} has no model {name!r}")
    return EncoderFacts(tuple(found.mean), tuple(found.std), bool(found.fixed_input_size))


class Encoder(nn.Module):
    """Feature maps of a timm model.

    Models whose maps all have one stride (vision transformers) give the last one only; a pyramid
    is made of it by doubling: strides 16, 8, 4, or 14, 7.

    Parameters
    ----------
    name, options
        The model, and what is passed to timm on top.
    levels
        Maps wanted, fine to coarse; of one stride: those of the pyramid at most.
    window
        Side of the window, where the model is made for one.
    weights
        A state of the whole classifier to begin with, by timm's names.

    Raises
    ------
    ModelError
        If timm cannot make it, or not with so many maps.
    """

    channels: list[int]
    strides: list[int]

    def __init__(
        self,
        name: str,
        options: Mapping[str, str | int | float | bool],
        levels: int,
        window: int | None,
        weights: Mapping[str, Tensor] | None = None,
    ) -> None:
        super().__init__()
        model = _features(name, options, tuple(range(levels)), window, weights)
        strides = [int(stride) for stride in model.feature_info.reduction()]
        single = levels > 1 and len(set(strides)) == 1
        if single:
            # A transformer gives maps of one stride: the last is enough.
            model = _features(name, options, 1, window, weights)
            strides = [int(stride) for stride in model.feature_info.reduction()]
        channels = [int(count) for count in model.feature_info.channels()]
        self.model = model
        self.channels_last = str(getattr(model, "output_fmt", "NCHW")).endswith("NHWC")
        self.pyramid = nn.ModuleList()
        if single:
            self._make_pyramid(strides[-1], channels[-1], levels)
        else:
            self.strides, self.channels = strides[:levels], channels[:levels]

    def _make_pyramid(self, stride: int, width: int, levels: int) -> None:
        self.strides, self.channels = [stride], [width]
        while len(self.strides) < levels and stride % 2 == 0 and stride > _FINEST_OF_PYRAMID:
            stride, finer = stride // 2, max(width // 2, 32)
            self.pyramid.append(convolution(width, finer, 1))
            width = finer
            self.strides.insert(0, stride)
            self.channels.insert(0, width)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Feature maps of strides ``self.strides``."""
        found: list[Tensor] = list(self.model(pixels))
        if self.channels_last:
            found = [one.permute(0, 3, 1, 2) for one in found]
        if len(self.pyramid) == 0:
            return found
        maps = [found[-1]]
        for narrower in self.pyramid:
            wide = nn.functional.interpolate(narrower(maps[0]), scale_factor=2.0, mode="nearest")
            maps.insert(0, wide)
        return maps


def convolution(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    """Convolution, batch normalisation, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def _features(
    name: str,
    options: Mapping[str, str | int | float | bool],
    maps: tuple[int, ...] | int,
    window: int | None,
    weights: Mapping[str, Tensor] | None,
) -> Any:
    timm = import_timm()
    given: dict[str, Any] = dict(options)
    layer = given.get("mlp_layer")
    if layer is not None:
        if layer not in _LAYERS:
            raise ModelError(f"mlp_layer {layer!r} is unknown; there are {', '.join(_LAYERS)}")
        given["mlp_layer"] = getattr(timm.layers, _LAYERS[layer])
    if window is not None:
        given["img_size"] = window
    if weights is not None:
        given["pretrained"] = True
        given["pretrained_cfg_overlay"] = {"state_dict": dict(weights)}
    given["out_indices"] = maps
    # It tells of every layer behind the last map that the weights are left over.
    logger = logging.getLogger("timm")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        model = timm.create_model(name, features_only=True, **given)
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError, KeyError) as error:
        raise ModelError(
            f"timm {timm.__version__} cannot make the encoder {name!r} with the feature maps "
            f"{maps} and {dict(options)}: {error}"
        ) from error
    finally:
        logger.setLevel(before)
    _drop_unused(model)
    return model


def _drop_unused(model: nn.Module) -> None:
    """Drop the blocks behind the last map that is given out, where timm keeps them."""
    stages = getattr(model, "_stage_out_idx", None)
    blocks = getattr(model, "blocks", None)
    if isinstance(stages, dict) and isinstance(blocks, nn.Sequential) and stages:
        setattr(model, "blocks", blocks[: max(stages)])  # noqa: B010 - its type is timm's


def by_order(name: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of another package under timm's names, matched by order and shape.

    Raises
    ------
    ModelError
        If number or shapes of the tensors differ from timm's model of that name.
    """
    names = import_timm().create_model(name, pretrained=False).state_dict()
    same = len(names) == len(weights) and all(
        a.shape == b.shape for a, b in zip(names.values(), weights.values(), strict=True)
    )
    if not same:
        raise ModelError(f"the weights do not fit timm's {name}")
    return dict(zip(names, weights.values(), strict=True))
