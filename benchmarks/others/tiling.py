"""What tools that only cut tiles do on the region: read by OpenSlide, resize, keep as pictures.

python tiling.py SLIDE FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

from region import SIDE, Stages, X, Y


def main() -> None:
    """Measure and print."""
    import openslide

    slide_file, folder = sys.argv[1], Path(sys.argv[2])
    stages = Stages()
    count = 0
    with openslide.OpenSlide(slide_file) as slide:
        for top in range(0, SIDE, 1024):
            for left in range(0, SIDE, 1024):
                tile = slide.read_region((X + left, Y + top), 0, (1024, 1024)).convert("RGB")
                stages.done("read")
                tile.resize((512, 512)).save(folder / f"{left}-{top}.jpg", quality=90)
                stages.done("resize, write")
                count += 1
    stages.print("tiles of 512 px by OpenSlide, no segmentation", count, "tiles")


if __name__ == "__main__":
    main()
