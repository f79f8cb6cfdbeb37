"""Cells: polygons, their rasters and their table."""
