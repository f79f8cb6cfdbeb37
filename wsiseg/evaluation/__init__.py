"""How good a segmentation is: matching, scores, intervals, strata, reports."""
