"""The loss of a star-convex network."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from wsiseg.models.network.architecture import ray_lengths


def star_loss(
    outputs: Tensor, probability: Tensor, rays: Tensor, foreground: Tensor
) -> dict[str, Tensor]:
    """Parts of the loss; train on their sum.

    Parameters
    ----------
    outputs
        ``[n, 1 + r + f, g, g]`` as the network gives them.
    probability, rays, foreground
        Targets ``[n, 1, g, g]``, ``[n, r, g, g]`` in pixels, ``[n, f, g, g]``.

    Returns
    -------
    ``probability``: binary cross entropy against the scaled distance, less its own entropy.
    ``rays``: minus the logarithm of the ratio of the sums of the smaller and of the larger of
    each pair of rays, an intersection over union in polar coordinates, plus the mean difference
    over the mean ray; both weighted by the target probability, so a nucleus of any size counts
    alike.
    ``foreground``: binary cross entropy and one minus Dice.
    """
    count = rays.shape[1]
    logits = outputs[:, :1]
    entropy = functional.binary_cross_entropy(probability, probability)
    likely = functional.binary_cross_entropy_with_logits(logits, probability) - entropy
    found = ray_lengths(outputs[:, 1 : 1 + count])
    weight = probability[:, 0]
    total = weight.sum() + 1.0
    smaller = torch.minimum(found, rays).sum(1) + 1e-3
    larger = torch.maximum(found, rays).sum(1) + 1e-3
    polar = ((larger / smaller).log() * weight).sum() / total
    mean = rays.mean(1) + 0.5
    relative = ((found - rays).abs().mean(1) / mean * weight).sum() / total
    inside = outputs[:, 1 + count :]
    cross = functional.binary_cross_entropy_with_logits(inside, foreground)
    shares = torch.sigmoid(inside)
    overlap = 2 * (shares * foreground).sum() + 1.0
    dice = 1 - overlap / (shares.sum() + foreground.sum() + 1.0)
    return {
        "probability": 4.0 * likely,
        "rays": polar + 0.5 * relative,
        "foreground": cross + 0.5 * dice,
    }
