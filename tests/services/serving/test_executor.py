"""Who goes first on one thread: callers before longer work, longer work in the end all the same."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from rlhf_core.errors import Unavailable
from services.serving import executor
from services.serving.executor import PATIENCE_SECONDS, Executor


@pytest.fixture
def calls() -> Iterator[Executor]:
    """Of one thread."""
    executor = Executor("test")
    yield executor
    executor.close()


class Blocked:
    """Keeps a thread at work until it is let go."""

    def __init__(self, executor: Executor, others: ThreadPoolExecutor):
        self._begun, self._go = threading.Event(), threading.Event()
        self.result = others.submit(executor.call, self._work)
        assert self._begun.wait(5)

    def _work(self) -> None:
        self._begun.set()
        assert self._go.wait(5)

    def let_go(self) -> None:
        self._go.set()
        self.result.result(5)


def queued(executor: Executor, others: ThreadPoolExecutor, work: Callable[[], object]) -> Future:
    """The unit stands in its line when this returns."""
    before = sum(map(len, executor._threads._lines))
    result = others.submit(executor.call, work)
    while sum(map(len, executor._threads._lines)) == before:
        time.sleep(0.001)
    return result


def test_units_of_one_executor_run_in_the_order_in_which_they_came(calls):
    seen: list[int] = []
    with ThreadPoolExecutor(4) as others:
        blocked = Blocked(calls, others)
        waiting = [queued(calls, others, lambda number=number: seen.append(number)) for number in range(3)]
        blocked.let_go()
        for result in waiting:
            result.result(5)
    assert seen == [0, 1, 2]


def test_what_stands_behind_begins_when_nothing_else_waits(calls):
    seen: list[str] = []
    feedback = calls.behind()
    training = feedback.behind()
    with ThreadPoolExecutor(4) as others:
        blocked = Blocked(calls, others)
        waiting = [
            queued(executor, others, lambda name=name: seen.append(name))
            for name, executor in (("training", training), ("feedback", feedback), ("call", calls))
        ]
        blocked.let_go()
        for result in waiting:
            result.result(5)
    assert seen == ["call", "feedback", "training"]


def test_longer_work_gives_way_in_its_middle_but_only_to_what_comes_first(calls):
    seen: list[str] = []
    feedback = calls.behind()
    training = feedback.behind()
    begun, go = threading.Event(), threading.Event()

    def minibatch() -> None:
        begun.set()
        assert go.wait(5)
        time.sleep(0.05)
        calls.give_way()
        seen.append("training")

    def score() -> None:
        calls.give_way()  # a call gives way to nobody
        seen.append("call")

    with ThreadPoolExecutor(4) as others:
        longer = others.submit(training.call, minibatch)
        assert begun.wait(5)
        waiting = [
            queued(training, others, lambda: seen.append("next")),
            queued(feedback, others, lambda: seen.append("feedback")),
            queued(calls, others, score),
        ]
        go.set()
        for result in (longer, *waiting):
            result.result(5)
    assert seen == ["call", "feedback", "training", "next"]


def test_longer_work_that_gives_way_waits_for_the_next_step_of_the_same_caller(calls):
    seen: list[str] = []
    training = calls.behind()
    stepped = threading.Event()

    def minibatch() -> None:
        assert stepped.wait(5)
        time.sleep(0.1)
        calls.give_way()
        seen.append("training")

    def caller() -> None:
        for step in range(5):
            result = calls.submit(lambda step=step: seen.append(str(step)))
            stepped.set()
            result.result(5)

    with ThreadPoolExecutor(2) as others:
        longer = others.submit(training.call, minibatch)
        others.submit(caller).result(5)
        longer.result(5)
    assert seen == ["0", "1", "2", "3", "4", "training"]


def test_callers_without_end_leave_longer_work_its_share(calls):
    training = calls.behind()
    ended = threading.Event()

    def step() -> None:
        time.sleep(0.005)
        if not ended.is_set():
            calls.submit(step)

    def minibatches() -> float:
        started = time.monotonic()
        for _ in range(5):
            time.sleep(0.02)  # the work itself
            calls.give_way()
        return time.monotonic() - started

    with ThreadPoolExecutor(2) as others:
        calls.submit(step)
        started = time.monotonic()
        took = others.submit(training.call, minibatches).result(10)
        waited = time.monotonic() - started - took
        ended.set()
    assert waited >= PATIENCE_SECONDS
    # The work takes 0.1 s; callers got at least as much, and it went on all the same.
    assert 0.2 <= took < 2.0


def test_an_error_reaches_the_one_who_asked_and_the_thread_goes_on(calls):
    with pytest.raises(ZeroDivisionError):
        calls.call(lambda: 1 / 0)
    assert calls.call(lambda: 7) == 7


@pytest.mark.parametrize("raised", [StopIteration(7), SystemExit(3)], ids=lambda error: type(error).__name__)
def test_an_error_that_no_coroutine_can_hold_still_reaches_the_one_who_asked(calls, raised):
    def work() -> None:
        raise raised

    async def scenario() -> None:
        with pytest.raises(RuntimeError, match=type(raised).__name__):
            await asyncio.wait_for(calls.run(work), 5)
        assert await calls.run(lambda: 7) == 7

    asyncio.run(scenario())


def test_a_unit_whose_caller_has_gone_never_runs(calls):
    seen: list[str] = []

    async def scenario(others: ThreadPoolExecutor) -> None:
        blocked = Blocked(calls, others)
        gone = asyncio.ensure_future(calls.run(seen.append, "gone"))
        stays = asyncio.ensure_future(calls.run(seen.append, "stays"))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        await asyncio.to_thread(blocked.let_go)
        await stays

    with ThreadPoolExecutor(1) as others:
        asyncio.run(scenario(others))
    assert seen == ["stays"]


def test_closing_ends_what_has_not_begun():
    executor = Executor("test")
    with ThreadPoolExecutor(3) as others:
        blocked = Blocked(executor, others)
        waiting = queued(executor, others, lambda: None)
        closing = others.submit(executor.close)
        with pytest.raises(Unavailable, match="going down"):
            waiting.result(5)
        assert not closing.done()
        blocked.let_go()
        closing.result(5)
    with pytest.raises(Unavailable, match="going down"):
        executor.call(lambda: None)


def test_a_caller_who_has_gone_does_not_keep_an_executor_from_closing():
    executor = Executor("test")
    with ThreadPoolExecutor(2) as others:
        blocked = Blocked(executor, others)
        gone, stays = executor.submit(lambda: None), executor.submit(lambda: None)
        assert gone.cancel()
        closing = others.submit(executor.close)
        with pytest.raises(Unavailable):
            stays.result(5)
        blocked.let_go()
        closing.result(5)


def test_a_thread_rests_once_when_it_has_had_nothing_to_do_for_a_while(monkeypatch):
    monkeypatch.setattr(executor, "REST_SECONDS", 0.1)
    rested: list[threading.Thread] = []
    calls = Executor("test", at_rest=lambda: rested.append(threading.current_thread()))
    time.sleep(0.2)
    assert rested == [], "nothing was done yet"
    own = calls.call(threading.current_thread)
    for _ in range(10):
        calls.call(lambda: time.sleep(0.02))
    assert rested == [], "one unit followed the other"
    time.sleep(0.4)
    assert rested == [own]
    calls.behind().call(lambda: None)
    time.sleep(0.4)
    assert rested == [own, own], "longer work leaves something to tidy up too"
    calls.close()


def test_what_fails_at_rest_is_no_callers_matter(monkeypatch):
    monkeypatch.setattr(executor, "REST_SECONDS", 0.02)
    calls = Executor("test", at_rest=lambda: 1 / 0)
    for _ in range(2):
        assert calls.call(lambda: "here") == "here"
        time.sleep(0.1)
    calls.close()
