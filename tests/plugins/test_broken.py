"""Plug-ins that cannot be used stop nothing but what asks for them."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

import plugged
import wsiseg
from runs import wsiseg_command
from wsiseg.demo import write_demo_slide
from wsiseg.errors import PluginError, UnreadableSlideError
from wsiseg.export.plugged import exported_file, write_plugged
from wsiseg.features.definitions import Feature
from wsiseg.features.plugged import check_features, plugged_sets
from wsiseg.features.registry import describe, features_of
from wsiseg.models.zoo import load_segmenter, names
from wsiseg.plugins import PluginWarning, load_plugin, plugins
from wsiseg.slides.slide import inspect_slide
from wsiseg.testing.exporters import check_exporter
from wsiseg.testing.features import check_feature_set
from wsiseg.testing.sources import synthetic_cells

BROKEN = {
    "wsiseg.readers": {"gone": "broken_one:Nothing"},
    "wsiseg.segmenters": {"gone": "not_there:make", "odd": "broken_one:odd", "BAD": "x:y"},
    "wsiseg.features": {"gone": "broken_one:Nothing", "bare": "broken_one"},
    "wsiseg.exporters": {"gone": "broken_one:Nothing", "table": "broken_one:Nothing"},
}
CODE = """
def odd(device):
    return 1 / 0
"""


@pytest.fixture
def site(tmp_path: Path):  # type: ignore[no-untyped-def]
    site = tmp_path / "site"
    plugged.write_package(site, "broken-one", BROKEN, CODE)
    with plugged.installed(site):
        yield site


def test_names_are_known_all_the_same(site: Path) -> None:
    assert list(plugins("segmenters")) == ["BAD", "gone", "odd"]
    assert {"gone", "odd"} <= set(names())


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("gone", r"segmenter gone of the package broken-one 0.1 .*No module named 'not_there'"),
        ("odd", r"segmenter odd of the package broken-one 0.1 .*ZeroDivisionError"),
        ("BAD", r"names are small letters"),
    ],
)
def test_asking_for_one_names_its_package(site: Path, name: str, reason: str) -> None:
    with pytest.raises(PluginError, match=reason):
        load_segmenter(name)


def test_a_job_that_asks_for_one_is_refused_at_once(site: Path, tmp_path: Path) -> None:
    slide = tmp_path / "slide.tiff"
    write_demo_slide(slide)
    for settings in ({"features": ("gone",)}, {"exports": ("gone",)}, {"model": "odd"}):
        job = wsiseg.Job.of(slide, **{"model": "classical-he", **settings})
        with pytest.raises(PluginError, match="broken-one"):
            wsiseg.run(job, tmp_path / "out", inline=True)
        assert not list((tmp_path / "out").glob("slides/*"))


def test_others_are_warned_of_where_plug_ins_are_looked_through(site: Path, tmp_path: Path) -> None:
    path = tmp_path / "slide.xyz"
    path.write_text("no slide")
    with (
        pytest.warns(PluginWarning, match="reader gone of the package broken-one"),
        pytest.raises(UnreadableSlideError, match="no reader can open it"),
    ):
        inspect_slide(path)
    with pytest.warns(PluginWarning, match="broken-one"):
        assert len(features_of()) > 50


def test_what_is_wsisegs_own_stays_so(site: Path) -> None:
    assert wsiseg_command("run", "--help").returncode == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert describe("area_um2") is not None
        assert describe("gone_um") is None


def test_they_are_listed_with_the_reason(site: Path) -> None:
    shown = wsiseg_command("plugins")
    assert shown.returncode == 1
    assert "No module named 'not_there'" in shown.stdout
    listed = wsiseg_command("models", "list")
    assert listed.returncode == 0
    assert "ZeroDivisionError" in listed.stdout
    assert "nuclei-he" in listed.stdout
    assert "Traceback" not in listed.stderr


def test_one_name_in_two_packages_is_nobodys(site: Path) -> None:
    plugged.write_package(site, "broken-two", {"wsiseg.segmenters": {"odd": "broken_two:odd"}})
    plugged.forget()
    with pytest.raises(PluginError, match="broken-one, broken-two"):
        load_plugin("segmenters", "odd")


class Darkness:
    FEATURES = (Feature("dark_mean", "dark", "", "How dark."),)
    MARGIN_UM = 0.0
    PIXELS = False

    def measure(self, around, place):  # type: ignore[no-untyped-def]
        count = around.own.stop - around.own.start
        return {"dark_mean": np.ones(count, np.float32)}


def test_sets_of_features_that_break_the_contract() -> None:
    check_feature_set("dark", Darkness())  # type: ignore[arg-type]

    class FromOthers(Darkness):
        def measure(self, around, place):  # type: ignore[no-untyped-def]
            found = super().measure(around, place)
            return {name: values * len(around.cells) for name, values in found.items()}

    class Doubles(Darkness):
        def measure(self, around, place):  # type: ignore[no-untyped-def]
            return {"dark_mean": np.ones(around.own.stop - around.own.start)}

    class Unnamed(Darkness):
        FEATURES = (Feature("mean", "dark", "", "How dark."),)

    for bad, reason in ((FromOthers, "hangs on cells"), (Doubles, "float64"), (Unnamed, "mean")):
        with pytest.raises(AssertionError, match=reason):
            check_feature_set("dark", bad())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="wsiseg's own begin with nucleus_"):
        check_features("nucleus", Darkness())  # type: ignore[arg-type]


def test_exporters_that_break_the_contract(tmp_path: Path) -> None:
    class Silent:
        SUFFIX = ".txt"

        def write(self, path, source):  # type: ignore[no-untyped-def]
            return None

    class Partial(Silent):
        def write(self, path, source):  # type: ignore[no-untyped-def]
            path.write_text(str(len(source.read(0)) if source.extents else 0))

    class Littering(Silent):
        def write(self, path, source):  # type: ignore[no-untyped-def]
            path.write_text(str([len(source.read(i)) for i, _ in enumerate(source.extents)]))
            path.with_name("more.txt").write_text("")

    for bad, reason in ((Silent, "wrote nothing"), (Partial, "left out"), (Littering, "more.txt")):
        folder = tmp_path / bad.__name__
        folder.mkdir()
        with pytest.raises(AssertionError, match=reason):
            check_exporter(bad(), folder)


def test_an_export_that_fails_leaves_nothing(tmp_path: Path) -> None:
    code = "SUFFIX = '.txt'\ndef write(path, source):\n    path.write_text('half')\n    1 / 0\n"
    entries = {"wsiseg.exporters": {"half": "half_way", "report": "half_way"}}
    plugged.write_package(tmp_path / "site", "half-way", entries, code)
    with plugged.installed(tmp_path / "site"):
        assert exported_file("half") == "half.txt"
        with pytest.raises(PluginError, match="exporter half of the package half-way"):
            write_plugged(tmp_path / "out" / "half.txt", synthetic_cells(3), "half")
        with pytest.raises(PluginError, match="file of wsiseg's own"):
            exported_file("report")
    assert not list((tmp_path / "out").iterdir())


def test_a_margin_beyond_what_is_at_hand_is_refused(tmp_path: Path) -> None:
    code = (
        "from wsiseg.features.definitions import Feature\n"
        "FEATURES = (Feature('far_x', 'far', '', 'X.'),)\nMARGIN_UM = 1e6\nPIXELS = False\n"
    )
    plugged.write_package(tmp_path, "far-off", {"wsiseg.features": {"far": "far_off"}}, code)
    with plugged.installed(tmp_path), pytest.raises(PluginError, match="MARGIN_UM"):
        plugged_sets(["far"])


def test_a_warning_is_one_line(site: Path, tmp_path: Path) -> None:
    path = tmp_path / "slide.xyz"
    path.write_text("no slide")
    done = wsiseg_command("info", path)
    assert done.returncode == 1
    warning, error = done.stderr.splitlines()
    assert warning.startswith("warning: the reader gone of the package broken-one 0.1 cannot be")
    assert error.startswith("error: ")
