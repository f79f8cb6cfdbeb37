"""A trained network that gives the same answers from fewer multiplications, for its graph.

A 3 x 3 convolution of features that were doubled, each pixel to 2 x 2, multiplies every one of them
with sums of neighbouring weights. A transposed convolution of stride 2 with those sums as 4 x 4
weights gives the same from 4 products a pixel and channel instead of 9 (Shi et al., "Is the
deconvolution layer the same as a convolutional layer?", arXiv:1609.07009), and neither the doubled
features nor their union with the finer ones need be put into memory.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from wsiseg.models.network.architecture import Merge, StarNetwork

_SUMS = ((0, 0, 1), (0, 1, 1), (1, 1, 0), (1, 0, 0))
"""Which of three weights along an axis meet the same pixel before doubling: those of each of the
four of the transposed convolution."""


class FusedMerge(nn.Module):
    """What a :class:`Merge` in evaluation mode gives, within rounding."""

    def __init__(self, merge: Merge) -> None:
        super().__init__()
        weight, self.bias = _weight_and_bias(merge)
        sums = torch.tensor(_SUMS, dtype=weight.dtype)
        self.doubling = torch.einsum("ay,bx,oiyx->ioab", sums, sums, weight[:, : merge.coarse])
        self.beside = weight[:, merge.coarse :].contiguous()

    def forward(self, features: tuple[Tensor, Tensor]) -> Tensor:
        """See :meth:`Merge.forward`."""
        coarse, finer = features
        doubled = nn.functional.conv_transpose2d(coarse, self.doubling, stride=2, padding=1)
        return nn.functional.relu(
            doubled + nn.functional.conv2d(finer, self.beside, self.bias, padding=1)
        )


def fused(network: StarNetwork) -> StarNetwork:
    """A copy of a network in evaluation mode that calculates with fused merges."""
    found = copy.deepcopy(network)
    merges = [merge for merge in network.merge if isinstance(merge, Merge)]
    found.merge = nn.ModuleList(map(FusedMerge, merges))
    return found.eval()


def _weight_and_bias(merge: Merge) -> tuple[Tensor, Tensor]:
    """Of the convolution with its normalisation drawn in."""
    state = merge.state_dict()
    mean, variance = state["1.running_mean"], state["1.running_var"]
    scale = state["1.weight"] / torch.sqrt(variance + _norm(merge).eps)
    return state["0.weight"] * scale[:, None, None, None], state["1.bias"] - mean * scale


def _norm(merge: Merge) -> nn.BatchNorm2d:
    (norm,) = (layer for layer in merge if isinstance(layer, nn.BatchNorm2d))
    return norm
