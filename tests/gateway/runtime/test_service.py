"""ServiceLevel as OPC UA Part 4, 6.6.2.4.2 has it: 1 no data, below 200 degraded, from 200 healthy."""

from __future__ import annotations

import pytest

from lineside_gateway.runtime.service import Strength


@pytest.mark.parametrize(
    ("strength", "level"),
    [
        (Strength(2, 2, backed=True), 255),
        (Strength(0, 2, backed=True), 1),
        (Strength(1, 2, backed=True), 199),
        (Strength(2, 2, backed=False), 199),
        (Strength(1, 1, backed=True, led=0, shards=2), 100),
        (Strength(1, 1, backed=True, led=1, shards=2), 227),
        (Strength(1, 1, backed=True, led=2, shards=2), 255),
    ],
)
def test_the_level_says_what_a_client_may_count_on(strength: Strength, level: int) -> None:
    """Nothing read is no data; a standby stands below a leader that lacks a worker; half of the shards is healthy."""
    assert strength.level == level
