"""Turns: who is next, who has to wait, and who is told to come back."""

from __future__ import annotations

import os
import threading

import pytest

from serving.queue.admission import HEAVY_NICENESS, MAX_RETRY, Admission, Busy
from tests.conftest import PATIENCE


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self):
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Gate:
    """Work that begins, and ends when it may."""

    def __init__(self):
        self.begun, self.may_end = threading.Event(), threading.Event()

    def __call__(self):
        self.begun.set()
        assert self.may_end.wait(PATIENCE)


@pytest.fixture
def busy():
    """Makes an admission of one worker that is at work already; it ends with `gate.may_end`."""
    made = []

    def make(**bounds):
        admission = Admission(1, **({"waiting": 100, "waiting_each": 100} | bounds))
        gate = Gate()
        made.append((admission, gate))
        admission.submit("somebody", gate)
        assert gate.begun.wait(PATIENCE)
        return admission, gate

    yield make
    for admission, gate in made:
        gate.may_end.set()
        admission.close()


def test_work_is_done_and_errors_come_back():
    admission = Admission(2, 10)
    assert admission.submit("a", lambda: 7).result(PATIENCE) == 7
    failing = admission.submit("a", lambda: {}["x"])
    assert failing.wait(PATIENCE) and failing.done and failing.place == 0
    with pytest.raises(KeyError):
        failing.result()
    assert admission.submit("a", lambda: 8).result(PATIENCE) == 8, "and the thread lives on"


def test_no_more_at_one_time_than_workers():
    admission, gates = Admission(2, 10, waiting_each=10), [Gate() for _ in range(4)]
    tickets = [admission.submit("a", gate) for gate in gates]
    assert gates[0].begun.wait(PATIENCE) and gates[1].begun.wait(PATIENCE)
    assert (admission.running, admission.waiting) == (2, 2)
    assert not gates[2].begun.is_set() and not gates[3].begun.is_set()
    gates[1].may_end.set()
    assert gates[2].begun.wait(PATIENCE) and not gates[3].begun.is_set()
    for gate in gates:
        gate.may_end.set()
    assert all(ticket.wait(PATIENCE) for ticket in tickets)


def test_visitors_and_addresses_take_turns(busy):
    admission, gate = busy(waiting_address=100)
    order = []

    def submit(name, visitor, address):
        return admission.submit(visitor, lambda: order.append(name), address)

    # Ten tabs at one address, all before two others come.
    tabs = [submit(f"tab {n}", f"tab {n}", "greedy") for n in range(10)]
    twice = [submit(f"x{n}", "x", "shared") for n in range(2)]
    once = submit("y0", "y", "shared")
    alone = submit("z0", "z", "z")
    expected = [
        "tab 0",
        "x0",
        "z0",
        "tab 1",
        "y0",
        "tab 2",
        "x1",
        *(f"tab {n}" for n in range(3, 10)),
    ]
    assert [alone.place, once.place, twice[1].place, tabs[9].place] == [2, 4, 6, 13]
    gate.may_end.set()
    assert all(ticket.wait(PATIENCE) for ticket in [*tabs, *twice, once, alone])
    assert order == expected


def test_a_place_in_the_queue_moves(busy):
    admission, gate = busy()
    gates = [Gate() for _ in range(3)]
    tickets = [admission.submit(name, g) for name, g in zip("abc", gates)]
    assert [ticket.place for ticket in tickets] == [0, 1, 2]
    gate.may_end.set()
    assert gates[0].begun.wait(PATIENCE)
    assert [ticket.place for ticket in tickets] == [0, 0, 1] and not tickets[1].wait(0)
    for one in gates:
        one.may_end.set()
    assert tickets[2].wait(PATIENCE)


def test_who_gives_up_is_not_waited_for(busy):
    admission, gate = busy()
    done = []
    tickets = [admission.submit(name, lambda name=name: done.append(name)) for name in "abab"]
    assert tickets[0].cancel() and tickets[0].done and tickets[0].wait(0)
    assert tickets[3].cancel() and not tickets[3].cancel(), "only once"
    assert admission.waiting == 2 and [t.place for t in tickets[1:3]] == [1, 0]
    gate.may_end.set()
    assert tickets[1].wait(PATIENCE) and tickets[2].wait(PATIENCE) and sorted(done) == ["a", "b"]
    assert not tickets[1].cancel(), "what is done is done"


def test_work_that_has_begun_goes_on():
    admission, gate = Admission(1, 10), Gate()
    ticket = admission.submit("a", gate)
    assert gate.begun.wait(PATIENCE) and not ticket.cancel()
    gate.may_end.set()
    assert ticket.result(PATIENCE) is None


@pytest.mark.parametrize(
    "bounds, reason",
    [
        ({"waiting": 2}, "server"),
        ({"waiting_each": 2}, "visitor"),
        ({"waiting_address": 2}, "address"),
    ],
)
def test_a_full_queue_is_said_at_once(busy, bounds, reason):
    admission, gate = busy(**bounds)
    tickets = [admission.submit("v", lambda: None, "home") for _ in range(2)]
    with pytest.raises(Busy, match="Busy, try again in 2 seconds") as error:
        admission.submit("v", lambda: None, "home")
    assert error.value.reason == reason and error.value.retry_after_seconds == 2
    assert admission.waiting == 2, "what was refused is not kept"
    if reason != "server":
        other = admission.submit("w", lambda: 5, "elsewhere")
        gate.may_end.set()
        assert other.result(PATIENCE) == 5
    else:
        tickets.pop().cancel()
        tickets.append(admission.submit("v", lambda: None, "home"))
        gate.may_end.set()
    assert all(ticket.wait(PATIENCE) for ticket in tickets)


def test_when_to_come_back_follows_from_what_work_takes():
    clock = Clock()
    admission = Admission(1, 4, waiting_each=10, clock=clock)

    def four_seconds():
        clock.now += 4

    for _ in range(60):
        admission.submit("a", four_seconds).result(PATIENCE)
    assert admission.retry_after() == 1, "nothing waits"
    gate = Gate()
    admission.submit("a", gate)
    assert gate.begun.wait(PATIENCE)
    tickets = [admission.submit("a", four_seconds) for _ in range(4)]
    with pytest.raises(Busy) as error:
        admission.submit("a", four_seconds)
    assert error.value.retry_after_seconds == 20, "five times four"
    gate.may_end.set()
    assert all(ticket.wait(PATIENCE) for ticket in tickets)


def test_nobody_is_sent_away_for_long():
    clock = Clock()
    admission, gate = Admission(1, 4, clock=clock), Gate()

    def for_days():
        clock.now += 1e6

    admission.submit("a", for_days).result(PATIENCE)
    admission.submit("a", gate)
    assert gate.begun.wait(PATIENCE)
    ticket = admission.submit("a", lambda: None)
    assert admission.retry_after() == MAX_RETRY
    gate.may_end.set()
    assert ticket.wait(PATIENCE)


def test_what_waits_when_the_server_ends_is_dropped(busy):
    admission, gate = busy()
    ticket = admission.submit("a", lambda: None)
    admission.close()
    assert ticket.done and ticket.future.cancelled()


def test_heavy_work_leaves_the_cores_to_clicks():
    admission = Admission(1, 4)

    def niceness() -> tuple[int, int]:
        started: list[int] = []
        thread = threading.Thread(target=lambda: started.append(own()))
        thread.start()
        thread.join()
        return own(), started[0]

    def own() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    before = own()
    expected = HEAVY_NICENESS
    assert admission.submit("a", niceness).future.result(PATIENCE) == (expected, expected)
    assert own() == before, "of the heavy threads only"


def test_quick_work_does_not_wait_for_slow_work(busy):
    admission, gate = busy()
    slow = admission.submit("a", lambda: "slow")
    assert admission.submit("b", lambda: "quick", quick=True).result(PATIENCE) == "quick"
    in_lane, waiting = Gate(), []
    admission.submit("b", in_lane, quick=True)
    assert in_lane.begun.wait(PATIENCE) and admission.running == 2
    waiting = [admission.submit(who, lambda: 1, quick=True) for who in ("c", "d")]
    assert [slow.place, *(ticket.place for ticket in waiting)] == [0, 1, 2], "there is one lane"
    assert not any(ticket.done for ticket in (slow, *waiting))
    in_lane.may_end.set()
    assert [ticket.result(PATIENCE) for ticket in waiting] == [1, 1] and not slow.done
    gate.may_end.set()
    assert slow.result(PATIENCE) == "slow"


def test_a_visitors_quick_work_waits_for_what_they_asked_before(busy):
    admission, gate = busy()
    done = []
    admission.submit("a", lambda: done.append("slow"))
    last = admission.submit("a", lambda: done.append("quick"), quick=True)
    assert not last.wait(0.1)
    gate.may_end.set()
    last.result(PATIENCE)
    assert done == ["slow", "quick"]
