"""Where the tissue is."""

from wsiseg.tissue.find import METHODS, find_tissue
from wsiseg.tissue.mask import TissueCode, TissueMask, mask_frame
from wsiseg.tissue.regions import Region, tissue_from_regions

__all__ = [
    "METHODS",
    "Region",
    "TissueCode",
    "TissueMask",
    "find_tissue",
    "mask_frame",
    "tissue_from_regions",
]
