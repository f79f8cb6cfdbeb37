"""Exports in the order to begin them in."""

from __future__ import annotations

from wsiseg.pipeline.exports import FILES, longest_first


def test_the_longest_of_the_usual_exports_begin_first() -> None:
    order = longest_first(("table", "tissue", "overview", "geojson", "labels"))
    assert order[:2] == ["geojson", "labels"]
    assert order[-1] == "tissue"


def test_every_export_stays_and_those_of_plugins_come_first() -> None:
    order = longest_first([*FILES, "of-a-plugin"])
    assert order[0] == "of-a-plugin"
    assert sorted(order[1:]) == sorted(FILES)
