"""What ``config.json`` of a StarDist model says of its network."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from wsiseg.errors import ModelError

Activation = Literal["relu", "linear", "elu", "tanh", "sigmoid"]
"""Activations as Keras names them; of ``elu`` the one whose lower limit is -1."""

Pair = tuple[int, int]


class Config(BaseModel):
    """The part of a configuration that decides what the network calculates.

    Names and defaults are those of ``stardist.models.Config2D``; pairs are (y, x). What only
    concerns training is passed over, and so is ``unet_dropout``, which does nothing when a
    trained network is run.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    n_rays: int = Field(ge=3, le=256)
    n_channel_in: Literal[1, 3] = 1
    grid: Pair = (1, 1)
    n_classes: int | None = Field(default=None, ge=1, le=200)
    backbone: Literal["unet"] = "unet"
    unet_n_depth: int = Field(default=3, ge=0, le=6)
    unet_kernel_size: Pair = (3, 3)
    unet_n_filter_base: int = Field(default=32, ge=1, le=512)
    unet_n_conv_per_depth: int = Field(default=2, ge=1, le=8)
    unet_pool: Pair = (2, 2)
    unet_activation: Activation = "relu"
    unet_last_activation: Activation | None = "relu"
    unet_batch_norm: bool = False
    unet_dropout: float | None = 0.0
    unet_expansion: float = Field(default=2, ge=1, le=4)
    unet_prefix: str = Field(default="", max_length=64)
    net_conv_after_unet: int = Field(default=128, ge=0, le=4096)

    @property
    def step(self) -> int:
        """Input pixels an output pixel along each axis."""
        return self.grid[0]

    @property
    def stride(self) -> int:
        """Windows shifted by multiples of this many pixels give the same answers."""
        strides = (self.step * pool**self.unet_n_depth for pool in self.unet_pool)
        return math.lcm(*strides)

    @property
    def last_activation(self) -> Activation:
        """That of the U-Net's last layer."""
        return self.unet_last_activation or self.unet_activation

    def filters(self, level: int) -> int:
        """Channels of the U-Net at a level, 0 being the finest."""
        return int(self.unet_n_filter_base * self.unet_expansion**level)


_OTHER_INITIALISATION = {"unet_kernel_init"}
_KNOWN = {name for name in Config.model_fields if name.startswith("unet_")} | _OTHER_INITIALISATION
_MAX_POOL, _MAX_KERNEL, _MAX_STRIDE = 4, 15, 256


def parse_config(content: bytes, origin: str) -> Config:
    """Read ``config.json``.

    Raises
    ------
    ModelError
        If it describes no two-dimensional StarDist network, or one with something that is not
        supported; the message names it.
    """
    try:
        said: Any = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{origin} is not valid JSON: {error}") from error
    return config_of(said, origin)


def config_of(said: Any, origin: str) -> Config:
    """The configuration in plain values; errors as :func:`parse_config`."""
    if not isinstance(said, Mapping) or "n_rays" not in said:
        raise ModelError(f"{origin} is not the config.json of a StarDist model: n_rays is missing")
    _require_flat(said, origin)
    unknown = {name for name in said if str(name).startswith("unet_")} - _KNOWN
    if unknown:
        raise ModelError(
            f"{origin} asks for a network that is not known here: {', '.join(sorted(unknown))}"
        )
    try:
        config = Config.model_validate(said)
    except ValidationError as error:
        raise ModelError(f"{origin}: {_told(error)}") from error
    _require_supported(config, origin)
    return config


def _require_flat(said: Mapping[str, Any], origin: str) -> None:
    axes = str(said.get("axes", "YXC"))
    if said.get("n_dim", 2) != 2 or "Z" in axes or "rays_json" in said:
        raise ModelError(
            f"{origin} describes a three-dimensional StarDist model; slides are flat, so only "
            "two-dimensional models (StarDist2D) can be used"
        )
    if axes not in ("YXC", "YX"):
        raise ModelError(f"{origin}: axes are {axes!r}; only channels last (YXC) is supported")


def _require_supported(config: Config, origin: str) -> None:
    if config.grid[0] != config.grid[1] or config.step not in (1, 2, 4, 8):
        raise ModelError(
            f"{origin}: grid {list(config.grid)} is not supported; it must be 1, 2, 4 or 8, the "
            "same along both axes"
        )
    if not all(1 <= pool <= _MAX_POOL for pool in config.unet_pool):
        raise ModelError(
            f"{origin}: unet_pool {list(config.unet_pool)} is not supported, 1 to {_MAX_POOL} are"
        )
    if not all(1 <= size <= _MAX_KERNEL for size in config.unet_kernel_size):
        raise ModelError(
            f"{origin}: unet_kernel_size {list(config.unet_kernel_size)} is not supported, 1 to "
            f"{_MAX_KERNEL} are"
        )
    if config.stride > _MAX_STRIDE:
        raise ModelError(
            f"{origin}: a stride of {config.stride} px (grid and pooling) is too large for tiles"
        )


def _told(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False)[0]
    name = ".".join(str(part) for part in first["loc"])
    return f"{name} = {first['input']!r} is not supported ({first['msg']})"
