"""LazySlide's tiles of the region at half of level 0 through its own loader, without a network.

PYTHON_OF_LAZYSLIDE lazyslide_region.py SLIDE [WORKERS]

Tiles of 512 px as LazySlide hands them to a network (``torch``'s loader over its data set, batches
of 32), by so many worker processes: none is its default. The reader is the one it chooses itself.
"""

from __future__ import annotations

import sys
import warnings

from region import SIDE, Stages, X, Y

TILE, BATCH = 512, 32


def main() -> None:
    """Measure and print."""
    slide, workers = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 0
    warnings.simplefilter("ignore")
    import lazyslide
    from shapely.geometry import box
    from torch.utils.data import DataLoader
    from wsidata import open_wsi
    from wsidata.io import add_tissues

    stages = Stages()
    wsi = open_wsi(slide, store=None)
    stages.done("open")
    add_tissues(wsi, "tissues", [box(X, Y, X + SIDE, Y + SIDE)])
    mpp = 2 * wsi.properties.mpp
    lazyslide.pp.tile_tissues(wsi, TILE, mpp=mpp, edge=True, background_filter=False)
    stages.done("tiles")
    loader = DataLoader(wsi.ds.tile_images("tiles"), batch_size=BATCH, num_workers=workers)
    count = sum(len(batch["image"]) for batch in loader)
    stages.done("read, resize")
    name = type(wsi.reader).__name__.removesuffix("Reader")
    shared = f"{workers} workers" if workers else "in one process"
    stages.print(
        f"LazySlide {lazyslide.__version__}, tiles of {TILE} px by {name}, {shared}, no "
        "segmentation",
        count,
        "tiles",
    )


if __name__ == "__main__":
    main()
