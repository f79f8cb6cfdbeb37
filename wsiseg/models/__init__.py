"""Models: the segmenter contract and what fulfils it."""
