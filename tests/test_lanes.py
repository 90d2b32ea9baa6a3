"""How many connections: a decision of numbers alone, tried here without a network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pphub_cache.lanes import MAX_CONNECTIONS, Pace

if TYPE_CHECKING:
    from collections.abc import Callable

MB = 10**6


def run(
    rate: Callable[[int], float], size: float, connections: int = 1, tick: float = 0.05
) -> tuple[float, list[int], int]:
    """Seconds that a file of ``size`` bytes takes, the targets on the way, and the connections at the end.

    ``rate`` is bytes a second, by the number of connections; those are what is wanted, one tick later.
    """
    pace = Pace(0.0)
    now, moved = 0.0, 0.0
    targets: list[int] = []
    while moved < size:
        moved += rate(connections) * tick
        now += tick
        target = pace.update(now, int(moved), int(size - moved), connections)
        if not targets or targets[-1] != target:
            targets.append(target)
        connections = target
        assert now < 10_000
    return now, targets, connections


def test_where_each_connection_is_limited_there_are_many() -> None:
    seconds, targets, connections = run(lambda count: 50 * MB * count, 1024 * MB)
    assert targets == [1, 2, 4, 8, 16]
    assert connections == MAX_CONNECTIONS
    assert seconds < 1024 / 50 / 4


@pytest.mark.parametrize("speed", [0.5, 10, 120])
def test_where_the_wire_is_the_limit_there_is_one(speed: float) -> None:
    """The trial costs nothing but itself, and is not made again soon."""
    seconds, targets, _ = run(lambda _count: speed * MB, speed * 10 * MB)
    assert targets == [1, 2, 1]
    assert seconds == pytest.approx(10, abs=0.1)


def test_a_fast_wire_is_not_tried_at_all() -> None:
    assert run(lambda _count: 1000 * MB, 1024 * MB)[1] == [1]


def test_it_stops_where_more_bring_no_more() -> None:
    _, targets, connections = run(lambda count: 10 * MB * min(count, 4), 1000 * MB)
    assert targets[:5] == [1, 2, 4, 8, 4]
    assert connections == 4


def test_a_server_that_gets_slower_with_more() -> None:
    _, targets, _ = run(lambda count: 100 * MB / count, 1000 * MB)
    assert targets[:3] == [1, 2, 1]


def test_many_files_at_once_are_not_counted_as_a_trial() -> None:
    """Eight are under way, one connection each: more are tried from there, not from one."""
    pace = Pace(0.0)
    targets = [pace.update(tick / 20, tick * MB, 10**9, 8) for tick in range(1, 13)]
    assert targets[0] == 1
    assert targets[-1] == 16


def test_it_is_tried_again_after_a_while() -> None:
    """The wire was busy with something else at first."""
    begin = 200 * MB
    pace = Pace(0.0)
    now, moved, connections, seen = 0.0, 0.0, 1, []
    while now < 40:
        moved += 10 * MB * (connections if moved > begin else 1) * 0.05
        now += 0.05
        connections = pace.update(now, int(moved), 10**9, connections)
        seen.append(connections)
    assert seen[:60].count(1) > 30
    assert seen[-1] == MAX_CONNECTIONS
