"""Runs: a job over many slides."""
