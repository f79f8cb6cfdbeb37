"""All slides of a run side by side: tables, a page to look at, slides that stand out."""
