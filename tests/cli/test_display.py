"""What the terminal shows, as text and in a terminal."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from wsiseg.cli.display import console, error_panel, facts_table, plan_table, show_error
from wsiseg.cli.result_display import SHOWN_ROWS, result_table
from wsiseg.cli.run_display import QUIET_SECONDS, RunProgress
from wsiseg.errors import ResolutionError
from wsiseg.execution.api import RunResult
from wsiseg.execution.driver import SlideOutcome
from wsiseg.execution.progress import Start
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


def start(slides: int, dashboard: str | None = None) -> Start:
    return Start(slides, 2, 4 * 10**9, lambda: 10**9, dashboard)


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
    assert "1 of 3 slides whole, 2 failed: 12,345 nuclei" in text
    assert "Results in out" in text
    assert "67 min, peak memory 1.00 GB of 4.00 GB planned" in text


def test_the_result_of_hundreds_of_slides_is_bounded() -> None:
    names = [f"slide-{number:03d}" for number in range(500)]
    slides = {name: SlideOutcome(name, "complete", 1000, "", 60.0) for name in names}
    for name in names[100:140]:
        slides[name] = SlideOutcome(name, "failed", None, f"{name}: truncated", 1.0)
    summary = Path("out/summary.html")
    text = shown(result_table(RunResult(Path("out"), slides, 9.0, 1, 2, summary)))
    lines = text.splitlines()
    assert len(lines) < 3 * SHOWN_ROWS
    assert sum("failed" in line for line in lines[:SHOWN_ROWS]) >= SHOWN_ROWS - 2
    assert "slide-100: truncated" in text
    assert "and 480 more slides, 20 of them failed" in text
    assert "and 20 more reasons" in text
    assert "460 of 500 slides whole, 40 failed: 460,000 nuclei" in text
    assert lines[-1].rstrip() == "Look first at out/summary.html"


def test_what_a_terminal_would_obey_is_not_passed_on() -> None:
    there = Console(file=StringIO(), width=80, record=True)
    with RunProgress(there, clock=Clock()) as progress:
        progress.slide_failed("a", "a: \x1b]0;title\x07\x1b[2J\rtruncated")
        progress.slide_warning("a", "odd\nlines")
        progress.message("\x1b[31mred")
    assert "\x1b" not in there.file.getvalue()
    assert len(there.export_text().splitlines()) == 3


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
            progress.block_done("slide", "0-0", 100, 0.25, 0.4)
        progress.slide_stage("slide", "stitch")
        progress.slide_done("slide", 90_000, 455.0)
    lines = console.export_text().splitlines()
    assert len(lines) == 900 * 0.5 // QUIET_SECONDS + 2
    assert lines[0] == "begun   slide: 1,000 blocks, 10 there already"
    assert lines[1] == (
        "slide: 370 of 1,000 blocks, 36,000 nuclei, 90.00 mm², 0.50 mm²/s, 5 min left"
    )
    assert lines[-1] == "done    slide: 90,000 nuclei in 8 min"


def test_without_a_terminal_a_batch_tells_where_it_stands() -> None:
    clock, console = Clock(), Console(file=StringIO(), width=80, record=True)
    with RunProgress(console, clock=clock) as progress:
        progress.started(start(10, dashboard="http://127.0.0.1:8787/status"))
        progress.slide_failed("broken", "broken: truncated")
        for name in ("one", "two"):
            progress.slide_planning(name)
            progress.slide_started(name, 100, 0)
        for _ in range(100):
            clock.now += 2
            progress.block_done("one", "0-0", 50, 0.1, 2.0)
        progress.slide_done("one", 4_900, 200.0)
    lines = console.export_text().splitlines()
    assert lines[0] == "10 slides, 2 workers, dashboard http://127.0.0.1:8787/status"
    assert lines[1:4] == [
        "failed  broken: truncated",
        "begun   one: 100 blocks",
        "begun   two: 100 blocks",
    ]
    # 110 blocks of two slides and seven like them, at half a block a second
    assert lines[4] == (
        "1 of 10 slides, 1 failed, 0.05 mm²/s, about 27 min left; "
        "one: 90 of 100 blocks, 4,500 nuclei, 9.00 mm²"
    )
    assert lines[5:] == ["done    one: 4,900 nuclei in 3 min"]


def test_slides_that_were_whole_before_are_told_in_a_few_lines() -> None:
    console = Console(file=StringIO(), width=80, record=True)
    with RunProgress(console, clock=Clock()) as progress:
        progress.started(start(400))
        for number in range(400):
            progress.slide_started(f"slide-{number}", 5, 5)
            progress.slide_done(f"slide-{number}", 7, 0.0)
    lines = console.export_text().splitlines()
    assert lines[1] == "done    slide-0: 7 nuclei, there already"
    assert lines[-1] == "397 more slides were there already"
    assert len(lines) == 5


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
    progress.started(start(500, dashboard="http://127.0.0.1:8787/status"))
    progress.slide_failed("broken", "truncated")
    for number in range(7):
        name = f"slide-{number}-with-a-long-name-of-its-own"
        progress.slide_planning(name)
        progress.slide_started(name, 50, 0)
    progress.slide_planning("being-planned")
    clock.now += 20
    for _ in range(10):
        progress.block_done("slide-0-with-a-long-name-of-its-own", "0-0", 1_000, 0.5, 2.0)
    progress.slide_stage("slide-1-with-a-long-name-of-its-own", "stitch")
    text = shown(progress._render(), width)
    lines = text.splitlines()
    assert len(lines) == 9
    # The terminal writes ^C behind the line that stands, which must not make it two.
    assert max(map(len, lines)) <= width - (4 if width >= 80 else 0)
    head, first, second, *_, hidden, foot = lines
    assert hidden.rstrip() == "and 2 more under way"
    assert "1/500 slides" in head
    if width >= 80:
        assert "1 failed" in head
        assert "8 running" in head
        assert "about 13 h 51 min left" in head
        assert "10/50" in first
        assert "0.25 mm²/s" in first
        assert "80 s left" in first
        assert second.rstrip().endswith("stitch")
        assert foot.startswith("0.25 mm²/s   500 nuclei/s   memory 1.00 of 4.00 GB planned")
    assert ("10,000 nuclei" in first) == (width >= 100)
    assert ("5.00 mm²" in first) == (width >= 100)
    assert ("491 waiting" in head) == (width >= 100)
    assert ("http://127.0.0.1:8787/status" in foot) == (width >= 100)


def test_the_live_display_leaves_only_the_endings_behind() -> None:
    stream = StringIO()
    console = Console(file=stream, width=80, force_terminal=True)

    def interrupted() -> None:
        with RunProgress(console) as progress:
            progress.slide_started("a", 4, 0)
            progress.block_done("a", "0-0", 10, 0.1, 0.2)
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
        progress.block_done("first", "0-0", 1, 1.0, 9.0)
        progress.slide_done("first", 1, 3600.0)
        clock.now += 240
        progress.block_done("second", "0-0", 1, 12.0, 9.0)
    assert console.export_text().splitlines()[-1].endswith("0.05 mm²/s, 8 min left")
