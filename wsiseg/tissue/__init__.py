"""Where the tissue is."""

from wsiseg.tissue.class_map import ClassMap
from wsiseg.tissue.find import METHODS, find_tissue
from wsiseg.tissue.mask import TissueCode, TissueMask, mask_frame
from wsiseg.tissue.network import network_facts, require_commercial_tissue, tissue_by_network
from wsiseg.tissue.regions import Region, tissue_from_regions

__all__ = [
    "METHODS",
    "ClassMap",
    "Region",
    "TissueCode",
    "TissueMask",
    "find_tissue",
    "mask_frame",
    "network_facts",
    "require_commercial_tissue",
    "tissue_by_network",
    "tissue_from_regions",
]
