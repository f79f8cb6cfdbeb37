"""What the terminal shows, as text and in a terminal."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from wsiseg.cli.display import (
    QUIET_SECONDS,
    RunProgress,
    console,
    error_panel,
    facts_table,
    plan_table,
    result_table,
    show_error,
)
from wsiseg.errors import ResolutionError
from wsiseg.execution.api import RunResult
from wsiseg.execution.driver import SlideOutcome
from wsiseg.geometry import MPP, Box, Size
from wsiseg.slides.reader import Level, SlideFacts


class Clock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def shown(renderable: RenderableType, width: int = 80) -> str:
    console = Console(file=StringIO(), width=width, record=True)
    console.print(renderable)
    return console.export_text()


def facts(mpp: MPP | None, problems: tuple[str, ...] = ()) -> SlideFacts:
    return SlideFacts(
        path=Path("/private/case [1]/a [bold]slide.svs"),
        reader="openslide",
        vendor="aperio",
        levels=(Level(Size(40_000, 20_000), 1.0), Level(Size(10_000, 5_000), 4.0)),
        mpp=mpp,
        mpp_source="aperio.MPP",
        objective=40.0,
        channels=("red", "green", "blue"),
        illumination="brightfield",
        dtype="uint8",
        bounds=Box(100, 200, 39_000, 19_000),
        problems=problems,
    )


@pytest.mark.parametrize("width", [80, 120])
def test_facts_of_a_slide(width: int) -> None:
    text = shown(facts_table(facts(MPP(0.25, 0.2505), ("the header lies",))), width)
    for part in (
        "a [bold]slide.svs",
        "aperio, read by openslide",
        "40,000 x 20,000 px  (10.00 x 5.01 mm)",
        "0.25 x 0.2505 µm/px  from aperio.MPP",
        "1/4   1.001 µm/px",
        "red, green, blue  (uint8)",
        "x 100 to 39,000, y 200 to 19,000",
        "the header lies",
    ):
        assert part in text
    assert "/private" not in text
    assert max(map(len, text.splitlines())) <= width


def test_a_missing_pixel_size_says_what_to_pass() -> None:
    text = shown(facts_table(facts(None)))
    assert "not known: pass --mpp" in text
    assert "mm)" not in text
    assert "µm/px" not in text


def test_a_plan_and_an_error_are_shown_as_they_are() -> None:
    assert "Memory  at most [red]3[/red] GB" in shown(
        plan_table("a.svs", {"Memory": "at most [red]3[/red] GB", "Tissue": "1 mm²"})
    )
    text = shown(error_panel(ResolutionError("x.svs: no pixel size; pass --mpp [0.5]")))
    assert "pass --mpp [0.5]" in text
    assert "Traceback" not in text


def test_a_result_names_what_failed_and_where_things_are() -> None:
    slides = {
        "one": SlideOutcome("one", "complete", 12_345, "", 83.2),
        "two": SlideOutcome("two", "failed", None, "two.svs: truncated at byte 7", 0.4),
        "three": SlideOutcome("three", "failed", None, "worker died", 7.0),
    }
    text = shown(result_table(RunResult(Path("out"), slides, 4000.0, 10**9, 4 * 10**9)))
    assert "12,345" in text
    assert text.count("two.svs: truncated at byte 7") == 1
    assert "two: two.svs" not in text
    assert "three: worker died" in text
    assert "Results in out" in text
    assert "67 min, peak memory 1.00 GB of 4.00 GB planned" in text


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("kidney.tif: truncated", "kidney.tif: truncated"),
        ("../a (1)/kidney.tif: truncated", "../a (1)/kidney.tif: truncated"),
        ("cannot read /a/kidney.tif: gone", "cannot read /a/kidney.tif: gone"),
        ("worker died", "kidney.tif: worker died"),
        ("kidney.tiff.csv: bad", "kidney.tif: kidney.tiff.csv: bad"),
        ("worker died: /a/kidney.tif", "kidney.tif: worker died: /a/kidney.tif"),
    ],
)
def test_a_failed_slide_is_named_once(reason: str, told: str) -> None:
    outcomes = {"kidney.tif": SlideOutcome("kidney.tif", "failed", None, reason, 0.4)}
    result = RunResult(Path("out"), outcomes, 4.0, 10**9, 4 * 10**9)
    assert told in shown(result_table(result)).splitlines()
    there = Console(file=StringIO(), width=80, record=True)
    with RunProgress(there, clock=Clock()) as progress:
        progress.slide_failed("kidney.tif", reason)
    assert there.export_text() == f"failed  {told}\n"


def test_without_a_terminal_nothing_is_wrapped_or_boxed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    long = "/data/" + "a folder with a long name/" * 20
    slides = {
        "one" * 40: SlideOutcome("one" * 40, "complete", 12_345, "", 83.2),
        "two": SlideOutcome("two", "failed", None, f"{long}two: the file [bold] is damaged", 0.4),
    }
    console().print(result_table(RunResult(Path(long), slides, 4.0, 10**9, 4 * 10**9)))
    lines = capsys.readouterr().out.splitlines()
    assert f"{long}two: the file [bold] is damaged" in lines
    assert any(line.startswith(f"Results in {long[:-1]}  (4 s") for line in lines)
    assert any(line.split() == ["one" * 40, "complete", "12,345", "83", "s"] for line in lines)
    assert max(map(len, lines)) < 700
    show_error(console(stderr=True), ResolutionError(f"{long}two: no pixel size;\npass [0.5]"))
    captured = capsys.readouterr()
    assert captured.err == f"error: {long}two: no pixel size; pass [0.5]\n"
    assert captured.out == ""


def test_a_terminal_shows_an_error_in_a_box() -> None:
    there = Console(file=StringIO(), width=60, force_terminal=True, record=True)
    show_error(there, ResolutionError("no pixel size " * 10))
    lines = there.export_text().splitlines()
    assert "wsiseg cannot do this" in lines[0]
    assert len(lines) > 3
    assert {len(line) for line in lines} == {60}


def test_without_a_terminal_lines_are_few() -> None:
    clock, console = Clock(), Console(file=StringIO(), width=80, record=True)
    with RunProgress(console, clock=clock) as progress:
        progress.slide_started("slide", 1000, 10)
        for _ in range(900):
            clock.now += 0.5
            progress.block_done("slide", 100, 0.25)
        progress.slide_stage("slide", "stitch")
        progress.slide_done("slide", 90_000, 455.0)
    lines = console.export_text().splitlines()
    assert len(lines) == 900 * 0.5 / QUIET_SECONDS + 1
    assert lines[0] == (
        "slide: 70 of 1,000 blocks, 6,000 nuclei, 15.00 mm², 0.50 mm²/s, 8 min left"
    )
    assert lines[-1] == "done    slide: 90,000 nuclei in 8 min"


def test_every_ending_is_told_in_one_line_each() -> None:
    console = Console(file=StringIO(), width=40, record=True)
    with RunProgress(console, clock=Clock()) as progress:
        progress.slide_failed("a", "a.svs: " + "very long reason [red] " * 10)
        progress.slide_started("b", 3, 3)
        progress.slide_done("b", 5, 0.0)
        progress.message("resumed [bold]2[/bold] blocks")
    failed, done, message = console.export_text().splitlines()
    assert failed.startswith("failed  a.svs: very long reason [red] very long")
    assert done == "done    b: 5 nuclei, there already"
    assert message == "resumed [bold]2[/bold] blocks"


@pytest.mark.parametrize("width", [40, 80, 120])
def test_a_terminal_shows_a_line_for_each_slide_under_way(width: int) -> None:
    clock = Clock()
    console = Console(file=StringIO(), width=width, force_terminal=True, record=True)
    progress = RunProgress(console, clock=clock)
    for number in range(6):
        progress.slide_started(f"slide-{number}-with-a-long-name-of-its-own", 50, 0)
    clock.now += 20
    for _ in range(10):
        progress.block_done("slide-0-with-a-long-name-of-its-own", 1_000, 0.5)
    progress.slide_stage("slide-1-with-a-long-name-of-its-own", "stitch")
    text = shown(progress._render(), width)
    lines = text.splitlines()
    assert len(lines) == 5
    # The terminal writes ^C behind the line that stands, which must not make it two.
    assert max(map(len, lines)) <= (width - 4 if width >= 80 else width)
    assert lines[-1].rstrip() == "and 2 more slides"
    if width >= 80:
        assert "10/50" in lines[0]
        assert "10,000 nuclei" in lines[0]
        assert "0.25 mm²/s" in lines[0]
        assert "80 s left" in lines[0]
        assert lines[1].rstrip().endswith("stitch")
    assert ("5.00 mm²" in lines[0]) == (width >= 100)


def test_the_live_display_leaves_only_the_endings_behind() -> None:
    stream = StringIO()
    console = Console(file=stream, width=80, force_terminal=True)

    def interrupted() -> None:
        with RunProgress(console) as progress:
            progress.slide_started("a", 4, 0)
            progress.block_done("a", 10, 0.1)
            progress.slide_done("a", 10, 1.0)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    written = stream.getvalue()
    assert "a: 10 nuclei in 1 s" in written
    assert written.count("\x1b[?25l") == written.count("\x1b[?25h") == 1


def test_an_interruption_while_the_display_begins_ends_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream = StringIO()
    there = Console(file=stream, width=80, force_terminal=True)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    progress = RunProgress(there)
    monkeypatch.setattr(RunProgress, "_render", interrupted)
    with pytest.raises(KeyboardInterrupt):
        progress.__enter__()
    there.print("told")
    assert stream.getvalue().count("\x1b[?25l") == stream.getvalue().count("\x1b[?25h")
    assert stream.getvalue().endswith("told\n")


def test_time_spent_on_other_slides_does_not_count() -> None:
    clock, console = Clock(), Console(file=StringIO(), width=120, record=True)
    with RunProgress(console, clock=clock) as progress:
        progress.slide_started("first", 1, 0)
        progress.slide_started("second", 3, 0)
        clock.now += 3600
        progress.block_done("first", 1, 1.0)
        progress.slide_done("first", 1, 3600.0)
        clock.now += 40
        progress.block_done("second", 1, 1.0)
    assert console.export_text().splitlines()[-1].endswith("0.03 mm²/s, 80 s left")
