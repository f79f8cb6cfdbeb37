"""Exports: renderings of the cells for other programs."""
