"""cellpose 3 on tiles of the region, outlines and GeoJSON included.

PYTHON_OF_CELLPOSE cellpose_region.py SLIDE LABELS.npz OUT.geojson [TILES]

The network is cellpose's own with random weights: how long it takes does not hang on them. It runs
in full; the flows of the given labels then replace what it finds, so that its dynamics see as many
nuclei as there are. Only some of the 16 tiles of 1,024 px are run, spread over the region, and
seconds multiplied.
"""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path

import numpy as np
from region import Stages, read_half, write_geojson

TILE = 1024


def main() -> None:
    """Measure and print."""
    slide, labels_file, out = sys.argv[1:4]
    tiles = int(sys.argv[4]) if len(sys.argv) > 4 else 16
    from cellpose import dynamics, utils
    from cellpose.core import run_net
    from cellpose.resnet_torch import CPnet

    network = CPnet([2, 32, 64, 128, 256], 3, 3, mkldnn=False)
    network.eval()
    labels = np.load(labels_file)["labels"]
    places = [(y, x) for y in range(0, 4096, TILE) for x in range(0, 4096, TILE)]
    places = places[:: max(1, len(places) // tiles)][:tiles]

    stages = Stages()
    pixels = read_half(slide)
    stages.done("read")
    rings: list[np.ndarray] = []
    for y, x in places:
        here = (slice(y, y + TILE), slice(x, x + TILE))
        with contextlib.redirect_stderr(io.StringIO()):
            flows = dynamics.masks_to_flows(labels[here].astype(np.int32))
        truth = (labels[here] > 0).astype(np.float32) * 12 - 6
        stages.done("made by us, not counted")
        tile = pixels[here].astype(np.float32)
        low, high = np.percentile(tile, [1, 99])
        grey = np.stack([(tile.mean(-1) - low) / (high - low), np.zeros(tile.shape[:2])], -1)
        run_net(network, grey[np.newaxis].astype(np.float32), batch_size=8)
        stages.done("network")
        masks = dynamics.compute_masks(
            5 * flows.astype(np.float32), truth, cellprob_threshold=0.0, flow_threshold=0.4
        )
        masks = masks[0] if isinstance(masks, tuple) else masks
        stages.done("dynamics")
        for ring in utils.outlines_list(masks, multiprocessing=False):
            if len(ring) > 3:
                rings.append(2 * (np.vstack([ring, ring[:1]]) + np.array([x, y])))
        stages.done("outlines")
    write_geojson(Path(out), rings)
    stages.done("GeoJSON")
    stages.seconds.pop("made by us, not counted")
    scale = 16 / len(places)
    read = stages.seconds["read"]
    stages.seconds = {k: v if v is read else v * scale for k, v in stages.seconds.items()}
    stages.print(f"cellpose 3 ({len(places)} of 16 tiles)", int(len(rings) * scale))


if __name__ == "__main__":
    main()
