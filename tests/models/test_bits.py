import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from wsiseg.models.network.bits import ones, span


@settings(max_examples=50, deadline=None)
@given(st.sets(st.integers(0, 63), min_size=1))
def test_bits_are_counted_and_spanned(places):
    value = np.uint64(sum(1 << place for place in places))
    assert ones(value) == len(places)
    assert span(value) == (min(places), max(places) + 1)


def test_no_bits_span_nothing():
    assert span(np.uint64(0)) == (64, 0)
