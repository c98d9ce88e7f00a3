"""`lineside fleet`: who leads, who stands by, how old the lease is; and one sentence where there is nothing to show."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis import Redis
from typer.testing import CliRunner, Result

from lineside_gateway.cli import app
from lineside_gateway.dispatch import BrokerError, EmbeddedBroker
from lineside_gateway.errors import LinesideError
from lineside_gateway.fleet import Member
from lineside_gateway.guard.switch import PlantSwitch
from lineside_gateway.settings import load_settings

SETTINGS = """
version: 1
gateway: {{id: line}}
broker: {{url: "{url}"}}
servers: [{{name: PLC, url: "opc.tcp://127.0.0.1:9"}}]
equipment: [{{browse: "Objects/M?"}}]
tasks: [{{task: maintenance}}]
"""
FLEET = """
fleet:
  member: {member}
  lease_s: 5
  return_after_s: 0
  shards: [{{name: mills, equipment: "A*", prefer: a}}, {{name: rest, prefer: b}}]
"""


class Nothing:
    """Nothing is done on a takeover."""

    async def took_over(self, *_: object) -> None: ...

    stood_down = handed = took_over


@pytest.fixture
def file(broker: EmbeddedBroker, tmp_path: Path) -> Callable[[str], Path]:
    """Writes the settings of one member."""
    with Redis.from_url(broker.url) as redis:
        redis.flushdb()

    def write(member: str) -> Path:
        path = tmp_path / f"{member}.yaml"
        path.write_text(SETTINGS.format(url=broker.url) + FLEET.format(member=member))
        return path

    return write


@contextmanager
def members(files: dict[str, Path]) -> Iterator[None]:
    """They take part in a thread of their own, because the command runs an event loop."""
    over = threading.Event()

    async def run() -> None:
        tasks = []
        for name, path in files.items():
            settings = load_settings(path)
            assert settings.fleet is not None
            member = Member(settings.fleet, "line", settings.broker.url)
            switch = PlantSwitch(path.parent / name)
            tasks.append(asyncio.create_task(member.run(Nothing(), switch, f"opc.tcp://{name}:4850", f"urn:{name}")))
        await asyncio.to_thread(over.wait)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def asked(path: Path, *options: str) -> Result:
    return CliRunner().invoke(app, ["fleet", "-c", str(path), *options], env={"COLUMNS": "120"})


def whole(path: Path, leaders: dict[str, str]) -> dict[str, list[dict[str, object]]]:
    """The JSON once ``leaders`` lead."""
    until = time.monotonic() + 120
    while True:
        result = asked(path, "--json")
        found: dict[str, list[dict[str, object]]] = json.loads(result.stdout)
        if {s["shard"]: s["leader"] for s in found["shards"]} == leaders:
            assert result.exit_code == 0
            return found
        assert time.monotonic() < until, found
        time.sleep(0.05)


def test_leaders_standbys_and_the_age_of_leases_are_shown(file: Callable[[str], Path]) -> None:
    """Each of two members leads its shard and stands by for the other's; whoever has gone is told as heard of last."""
    files = {name: file(name) for name in "ab"}
    with members(files):
        found = whole(files["a"], {"mills": "a", "rest": "b"})
        assert [s["standbys"] for s in found["shards"]] == [["b"], ["a"]]
        assert all(0 <= s["lease_age_s"] <= 5 for s in found["shards"])
        assert all(s["led_for_s"] >= 0 for s in found["shards"])
        assert [(m["member"], m["endpoint"], m["uri"]) for m in found["members"]] == [
            ("a", "opc.tcp://a:4850", "urn:a"),
            ("b", "opc.tcp://b:4850", "urn:b"),
        ]
        table = asked(files["b"]).stdout
    for word in ("mills", "lease age", "of 5 s", "opc.tcp://b:4850"):
        assert word in table
    until = time.monotonic() + 120
    while "nobody" not in (nobody := asked(files["a"])).stdout.replace("nobody leads", ""):
        assert time.monotonic() < until
        time.sleep(0.1)
    assert nobody.exit_code == 1
    assert "opc.tcp://a:4850" in nobody.stdout


def test_without_a_fleet_or_a_broker_it_is_said_in_one_sentence(unused_tcp_port: int, tmp_path: Path) -> None:
    """Settings without ``fleet`` name the page that helps; a broker that is away is named, and what follows from it."""
    sole = tmp_path / "sole.yaml"
    sole.write_text(SETTINGS.format(url="redis://127.0.0.1:1/0"))
    error = asked(sole).exception
    assert isinstance(error, LinesideError)
    assert "docs/fleet.md" in str(error)
    away = tmp_path / "away.yaml"
    away.write_text(SETTINGS.format(url=f"redis://127.0.0.1:{unused_tcp_port}/0") + FLEET.format(member="a"))
    error = asked(away).exception
    assert isinstance(error, BrokerError)
    assert f"127.0.0.1:{unused_tcp_port}" in str(error)
    assert "none writes to the plant" in str(error)
