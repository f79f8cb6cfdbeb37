"""Slides: one contract over every file format."""
