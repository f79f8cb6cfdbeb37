"""Is what the scanner gave good enough: focus, folds, grey artefacts, odd stain, and how far a
slide is from what a model learnt on."""
