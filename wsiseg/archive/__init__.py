"""A look at many slides before any of them is run: what would fail, what is odd."""
