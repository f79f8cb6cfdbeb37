"""Text of nuclei, compressed piece by piece."""

from __future__ import annotations

import imagecodecs
import numpy as np
from numpy.typing import NDArray

_LEVEL = 1
"""Of libdeflate: the text of nuclei comes out smaller than at level 4 of zlib, 4 times faster; for
tables a twelfth larger than at level 3, in half the time."""


def gzip_member(text: bytes | NDArray[np.uint8]) -> bytes:
    """A gzip member (RFC 1952): readers take several, one after the other, for one stream."""
    # The library's type hints leave out the arrays that it takes as well.
    return bytes(imagecodecs.gzip_encode(text, level=_LEVEL))  # type: ignore[arg-type]
