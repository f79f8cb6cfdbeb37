"""Which slides: folders, globs and tables of slides, turned into paths and rows."""
