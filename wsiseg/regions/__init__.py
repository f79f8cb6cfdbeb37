"""Regions of interest, maps and hot spots: where on a slide cells are, and how many."""

from __future__ import annotations

from wsiseg.regions.areas import Area, block_areas, density, tissue_areas, whole_tissue
from wsiseg.regions.hotspot import HotSpot, HotSpotRule, find_hot_spot
from wsiseg.regions.maps import (
    Grid,
    GridMap,
    count_map,
    density_map,
    grid_of,
    mean_map,
    share_map,
    tissue_map,
)
from wsiseg.regions.members import Members, find_members
from wsiseg.regions.places import Place, Placed, place_regions

__all__ = [
    "Area",
    "Grid",
    "GridMap",
    "HotSpot",
    "HotSpotRule",
    "Members",
    "Place",
    "Placed",
    "block_areas",
    "count_map",
    "density",
    "density_map",
    "find_hot_spot",
    "find_members",
    "grid_of",
    "mean_map",
    "place_regions",
    "share_map",
    "tissue_areas",
    "tissue_map",
    "whole_tissue",
]
