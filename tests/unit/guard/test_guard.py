"""The rate guard's arithmetic; tests/kernel/test_guard.py provokes the real one."""

from __future__ import annotations

from itertools import pairwise

import pytest

from ktcpdump_tui.capture.guard import RateGuard


class Clock:
    """A clock that is set by hand, in seconds."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def seconds_until_stopped(share: float, loads: list[float], looks: int = 4) -> float | None:
    """Feed one load (share of a CPU) per second, looked at so many times in each."""
    clock = Clock()
    guard = RateGuard(share, clock)
    spent = 0.0
    for load in loads:
        for _ in range(looks):
            clock.now += 1 / looks
            spent += load / looks * 1e9
            if guard.check(spent):
                assert guard.used > share
                return clock.now - 100.0
    return None


def test_a_second_above_the_share_is_too_much() -> None:
    assert seconds_until_stopped(0.5, [0.1, 0.4, 0.49, 0.51]) == pytest.approx(4)


def test_several_cpus_may_take_more_than_one() -> None:
    assert seconds_until_stopped(1.5, [1.4, 1.6]) == pytest.approx(2)
    assert seconds_until_stopped(2.0, [1.4, 1.6]) is None


def test_a_burst_shorter_than_a_second_is_not_too_much() -> None:
    clock = Clock()
    guard = RateGuard(0.5, clock)
    totals = [0.0, 0.4e9, 0.4e9, 0.4e9, 0.4e9, 0.8e9, 0.8e9]
    for before, after in pairwise(totals):
        clock.now += 0.25
        assert not guard.check(after), (before, after)


def test_zero_never_stops() -> None:
    assert seconds_until_stopped(0.0, [4.0, 4.0]) is None
