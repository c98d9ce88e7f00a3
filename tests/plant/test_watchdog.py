"""The PLC's fallback when the gateway's heartbeat stops."""

from __future__ import annotations

import pytest

from lineside_plant.servers.interlocks import PlcLogic

NOW_S = 100.0


class Mill:
    """Records the speeds it is given."""

    def __init__(self) -> None:
        self.speeds: list[float] = []

    def request_maintenance(self, machine: str) -> None:
        raise AssertionError(machine)

    def reject(self, machine: str, serial_no: str) -> bool:
        raise AssertionError((machine, serial_no))

    def set_speed(self, machine: str, speed: float) -> None:
        assert machine == "A1"
        self.speeds.append(speed)

    def set_tool_offset(self, machine: str, offset_um: float) -> None:
        raise AssertionError((machine, offset_um))


@pytest.fixture
def clock() -> list[float]:
    return [0.0]


@pytest.fixture
def mill() -> Mill:
    return Mill()


@pytest.fixture
def logic(mill: Mill, clock: list[float]) -> PlcLogic:
    return PlcLogic("A1", mill, watchdog_s=12.0, wall=lambda: clock[0])


def test_a_plant_without_a_gateway_is_not_in_fallback(logic: PlcLogic, clock: list[float]) -> None:
    """The watchdog is armed by the first beat."""
    clock[0] = 1e6
    assert logic.scan(NOW_S) == {}


def test_two_missing_beats_fall_back_and_the_next_one_ends_it(logic: PlcLogic, mill: Mill, clock: list[float]) -> None:
    """After two heartbeats of silence the mill runs at its own speed and says so; the next count ends it."""
    logic.write("SpeedOverride", 1.1, NOW_S)
    logic.write("GatewayHeartbeat", 1, NOW_S)
    clock[0] = 12.0
    assert logic.scan(NOW_S) == {}
    clock[0] = 12.1
    assert logic.scan(NOW_S) == {"AdviceFallback": True, "SpeedOverride": 1.0}
    assert mill.speeds == [1.1, 1.0]
    assert logic.scan(NOW_S) == {}
    logic.write("GatewayHeartbeat", 1, NOW_S)
    assert logic.scan(NOW_S) == {}, "a count that stands still is no beat"
    logic.write("GatewayHeartbeat", 2, NOW_S)
    assert logic.scan(NOW_S) == {"AdviceFallback": False}


def test_a_gateway_that_gives_up_its_advice_is_believed_at_once(logic: PlcLogic, clock: list[float]) -> None:
    """The count 0 says that something behind the advice is gone: no beat is waited for."""
    logic.write("GatewayHeartbeat", 7, NOW_S)
    clock[0] = 0.1
    logic.write("GatewayHeartbeat", 0, NOW_S)
    assert logic.scan(NOW_S)["AdviceFallback"] is True
