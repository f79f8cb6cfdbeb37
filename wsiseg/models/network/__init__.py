"""Nuclei by a small convolutional network with star-convex outlines."""
