"""Who works on what, who is blamed: no process is needed to see that."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsiseg.execution.roster import DEATHS, LOAD_TASKS, QUEUE, Load, Roster, Worker
from wsiseg.execution.tasks import Failure, StitchTask, Task
from wsiseg.pipeline.block import BlockTask

MANY = 1000


def block(number: int) -> BlockTask:
    return BlockTask("run", "slide", "key", number, 0, "epoch")


def stitch(number: int) -> StitchTask:
    return StitchTask("run", f"slide {number}", "epoch")


class Simulation:
    """Workers that do tasks in order, die of poison, leave and come at random."""

    def __init__(self, seed: int, count: int, poison: set[int], workers: int) -> None:
        self.chance = random.Random(seed)
        self.roster = Roster()
        self.waiting: list[Task] = [block(i) for i in range(count)]
        self.poison = poison
        self.running: dict[str, list[Load]] = {}
        self.done: list[int] = []
        self.given_up: dict[int, Failure] = {}
        self.names = iter(range(10**6))
        self.alone: dict[int, int] = {}
        for _ in range(workers):
            self.arrive()

    def arrive(self) -> None:
        name = f"worker {next(self.names)}"
        self.running[name] = []
        self.roster.join(Worker(name))

    def depart(self, name: str, death: str | None) -> None:
        del self.running[name]
        for task, failure in self.roster.leave(name, death):
            assert isinstance(task, BlockTask)
            assert task.column not in self.given_up
            self.given_up[task.column] = failure
        self.arrive()

    def step(self, unrest: float) -> None:
        while self.waiting and self.roster.takes(self.waiting[0], MANY):
            self.roster.add(self.waiting.pop(0))
        for load in self.roster.to_send():
            self.running[load.worker.address].append(load)
            assert len(self.running[load.worker.address]) <= QUEUE
        name = self.chance.choice(sorted(self.running))
        if self.chance.random() < unrest:
            self.depart(name, None)
            return
        loads = self.running[name]
        if not loads:
            return
        load = loads[0]
        deadly = [t for t in load.tasks if isinstance(t, BlockTask) and t.column in self.poison]
        if deadly:
            if load.trial:
                assert len(loads) == 1, "a suspect is not alone"
                self.alone[deadly[0].column] = self.alone.get(deadly[0].column, 0) + 1
            self.depart(name, "poison")
            return
        loads.pop(0)
        assert self.roster.done(load, 0.01 * len(load.tasks))
        self.done += [t.column for t in load.tasks if isinstance(t, BlockTask)]


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    count=st.integers(1, 150),
    poison=st.sets(st.integers(0, 149), max_size=4),
    workers=st.integers(1, 5),
    unrest=st.sampled_from([0.0, 0.1, 0.3]),
)
def test_every_task_ends_once_and_only_poison_is_given_up(
    seed: int, count: int, poison: set[int], workers: int, unrest: float
) -> None:
    night = Simulation(seed, count, poison, workers)
    for _ in range(50_000):
        if not night.waiting and night.roster.idle:
            break
        night.step(unrest)
    poison = {column for column in poison if column < count}
    assert sorted(night.done) == sorted(set(range(count)) - poison)
    assert set(night.given_up) == poison
    assert all(night.alone[column] == DEATHS for column in poison)
    assert all("poison" in failure.reason for failure in night.given_up.values())


def test_workers_hold_one_load_and_one_that_waits() -> None:
    roster = Roster()
    assert not roster.takes(block(0), MANY)
    roster.join(Worker("a"))
    roster.join(Worker("b", queue=1))
    for number in range(3):
        assert roster.takes(block(number), MANY)
        roster.add(block(number))
    assert not roster.takes(block(3), MANY)
    assert sorted(load.worker.address for load in roster.to_send()) == ["a", "a", "b"]


def test_towards_the_end_nothing_waits_behind_other_work() -> None:
    roster = Roster()
    roster.join(Worker("a"))
    roster.join(Worker("b"))
    for number in range(2):
        assert roster.takes(block(number), 6 - number)
        roster.add(block(number))
    assert roster.takes(block(2), 5)
    assert not roster.takes(block(2), 4)
    first, _ = roster.to_send()
    assert roster.done(first, 1.0)
    assert roster.takes(block(2), 4)


def test_no_worker_holds_two_long_tasks_while_others_may_be_free_sooner() -> None:
    roster = Roster()
    roster.join(Worker("a"))
    roster.join(Worker("b"))
    for task in (stitch(0), block(0)):
        assert roster.takes(task, MANY)
        roster.add(task)
    assert roster.takes(stitch(1), MANY)
    roster.add(stitch(1))
    assert not roster.takes(stitch(2), MANY)
    assert roster.takes(block(1), MANY)
    held = [(load.worker.address, type(load.tasks[0])) for load in roster.to_send()]
    assert held == [("a", StitchTask), ("b", BlockTask), ("b", StitchTask)]


def test_short_blocks_travel_together_and_long_ones_do_not() -> None:
    roster = Roster()
    roster.join(Worker("a"))
    sizes = []
    for _ in range(30):
        while roster.takes(block(0), MANY):
            roster.add(block(0))
        for load in roster.to_send():
            sizes.append(len(load.tasks))
            assert roster.done(load, 1e-4 * len(load.tasks))
    assert sizes[0] == 1
    assert sizes[-1] == LOAD_TASKS
    for _ in range(30):
        roster.add(block(0))
        for load in roster.to_send():
            assert roster.done(load, 30.0 * len(load.tasks))
    while roster.takes(block(0), MANY):
        roster.add(block(0))
    assert [len(load.tasks) for load in roster.to_send()] == [1] * QUEUE


def test_stitching_is_never_bundled() -> None:
    roster = Roster()
    roster.join(Worker("a"))
    for _ in range(20):
        roster.add(block(0))
        (load,) = roster.to_send()
        roster.done(load, 1e-4)
    roster.add(stitch(0))
    roster.add(stitch(1))
    assert [len(load.tasks) for load in roster.to_send()] == [1, 1]


def test_graphics_cards_are_kept_for_blocks() -> None:
    roster = Roster(lambda task: isinstance(task, BlockTask))
    roster.join(Worker("cpu"))
    assert not roster.takes(block(0), MANY)
    roster.join(Worker("gpu", gpu=True))
    roster.add(block(0))
    roster.add(stitch(0))
    assert {load.worker.address: load.tasks for load in roster.to_send()} == {
        "gpu": [block(0)],
        "cpu": [stitch(0)],
    }


def test_without_other_workers_graphics_cards_do_everything() -> None:
    roster = Roster(lambda task: isinstance(task, BlockTask))
    roster.join(Worker("gpu", gpu=True))
    assert roster.takes(stitch(0), MANY)


@pytest.mark.parametrize("others", [1, 3])
def test_the_others_go_on_while_a_suspect_is_tried(others: int) -> None:
    roster = Roster()
    roster.join(Worker("dies"))
    roster.add(block(0))
    roster.to_send()
    for number in range(others):
        roster.join(Worker(f"lives {number}"))
    assert roster.leave("dies", "signal 9") == []
    (trial,) = roster.to_send()
    assert trial.trial
    room = 0
    while roster.takes(block(1 + room), MANY):
        roster.add(block(1 + room))
        room += 1
    assert room == QUEUE * (others - 1)


def test_what_arrives_after_its_worker_was_given_up_does_not_count() -> None:
    roster = Roster()
    roster.join(Worker("a"))
    roster.add(block(0))
    (load,) = roster.to_send()
    roster.leave("a", None)
    assert not roster.done(load, 1.0)
    assert not roster.idle
