"""Bringing the colours of a stained section to those of a reference, as published.

Every method is fitted once to pixels of the whole slide and then changes each pixel by itself, so
that tiles cannot show.
"""
