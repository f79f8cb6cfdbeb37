"""Classes of cells learnt from their features."""
