"""Plots of a report: their arithmetic and their SVG."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from wsiseg.reporting.plots import group_strips, histogram, histogram_svg, interval_svg

EVIL = '"><script>alert(1)</script>'


@settings(max_examples=40)
@given(
    st.lists(st.floats(-1e6, 1e6, allow_nan=False, allow_subnormal=False), min_size=0, max_size=400)
)
def test_every_value_is_in_a_bin_or_beyond_the_axis(values: list[float]) -> None:
    found = histogram(np.array(values))
    assert int(found.counts.sum()) + found.below + found.above == len(values)
    if len(values) < 200:
        assert found.below == found.above == 0
    assert found.below + found.above <= 0.011 * len(values) + 2
    text = histogram_svg(found, float(np.median(values)) if values else np.nan, EVIL)
    assert bool(text) == bool(values)
    if values:
        assert len(ET.fromstring(text).findall("rect")) == len(found.counts)


def test_values_in_steps_get_bins_of_whole_steps() -> None:
    levels = np.arange(100)
    found = histogram(np.repeat(levels * 0.0625, 50))
    inner = found.counts[1:-1]
    assert len(inner) > 20
    assert set(inner.tolist()) == {int(inner[0])}


def test_bars_are_as_high_as_their_counts() -> None:
    found = histogram(np.repeat([0.0, 1.0, 2.0], [10, 30, 20]))
    assert found.counts.tolist() == [10, 30, 20]
    bars = ET.fromstring(histogram_svg(found, 1.0, "µm²")).findall("rect")
    heights = np.array([float(bar.get("height", "nan")) for bar in bars])
    np.testing.assert_allclose(heights / heights.max(), found.counts / 30, atol=0.01)


def test_equal_values_are_one_bar() -> None:
    found = histogram(np.full(500, 7.0))
    assert found.counts.tolist() == [500]
    assert ET.fromstring(histogram_svg(found, 7.0, "")).findall("rect")


def test_an_interval_lies_where_its_numbers_say() -> None:
    drawn = ET.fromstring(interval_svg(50.0, 25.0, 75.0, 100.0))
    axis, inner = drawn.findall("line")
    left, width = float(axis.attrib["x1"]), float(axis.attrib["x2"]) - float(axis.attrib["x1"])
    shares = [(float(inner.attrib[end]) - left) / width for end in ("x1", "x2")]
    np.testing.assert_allclose(shares, [0.25, 0.75], atol=0.01)
    (dot,) = drawn.findall("circle")
    assert abs((float(dot.attrib["cx"]) - left) / width - 0.5) < 0.01
    assert interval_svg(np.nan, 0.0, 1.0, 100.0) == ""
    assert interval_svg(5.0, 0.0, 9.0, 0.0) == ""
    assert len(ET.fromstring(interval_svg(5.0, np.nan, np.nan, 10.0)).findall("line")) == 1


def test_strips_have_a_dot_a_known_slide_and_escape_names() -> None:
    values = np.array([1.0, 2.0, np.nan, 4.0])
    out = np.array([False, False, False, True])
    text = group_strips({EVIL: [0, 1], "b": [2], "c": [3]}, values, out, [EVIL] * 4, EVIL)
    drawn = ET.fromstring(text)
    dots = drawn.findall("circle")
    assert len(dots) == 3
    assert [dot.get("fill") for dot in dots].count("#b3261e") == 1
    labels = [e.text or "" for e in drawn.findall("text")]
    assert any(label.endswith("(2)") for label in labels)
    assert not any(label.startswith("b ") for label in labels)
    assert "<script" not in text
    x = [float(dot.attrib["cx"]) for dot in dots]
    assert (x[1] - x[0]) * 2 - (x[2] - x[1]) < 0.2
    assert group_strips({"": [2]}, values, out, ["a"] * 4, "") == ""
