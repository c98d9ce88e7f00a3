"""Nodes of an earlier run stand from the first moment of the next one."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from lineside_gateway.runtime.hosted_before import HostedBefore
from lineside_gateway.runtime.tasks import bind_tasks
from lineside_gateway.settings import Settings, read_settings
from tests.gateway.runtime.conftest import Plc
from tests.gateway.runtime.test_gateway import SETTINGS, flat, line, until

pytestmark = pytest.mark.usefixtures("overheat_site")


async def test_nodes_stand_while_the_plc_is_not_reached(plc: Plc, tmp_path: Path, unserved: str) -> None:
    """After a restart an HMI finds the nodes at once, Bad and not good, though their PLC does not answer."""
    async with line(plc, tmp_path, unserved, mode="advisory"):
        await until((tmp_path / "hosted.json").exists, "a note of what is hosted")
    away = SimpleNamespace(url="opc.tcp://127.0.0.1:9")
    async with line(away, tmp_path, unserved, mode="advisory") as again:
        await until(lambda: not again.hosted.endpoint.endswith(":0/lineside"), "the server listens")
        assert (await flat(again, "M1.overheat.flag")).StatusCode.name in {
            "BadWaitingForInitialData",
            "BadOutOfService",
        }
        assert (await flat(again, "M1.overheat.good")).Value.Value is False


def settings(folder: Path, machines: str = "") -> Settings:
    return read_settings(
        SETTINGS.format(id="before", data=folder, broker="redis://127.0.0.1:9", url="opc.tcp://127.0.0.1:9",
                        mode="advisory", more="", machines=machines)
    )  # fmt: skip


def test_what_is_gone_is_forgotten_once_every_server_was_reached(tmp_path: Path) -> None:
    """The list grows while servers are awaited, is this run's own when all have come, and is of these settings only."""
    mine = settings(tmp_path)
    tasks = bind_tasks(mine).tasks
    m1, m2, m3 = (tasks["overheat"].hosted(name, ("", "", "Milling")) for name in ("M1", "M2", "M3"))
    HostedBefore(mine, tasks).keep([m1, m2], complete=False)
    second = HostedBefore(mine, tasks)
    assert second.tasks == (m1, m2)
    second.keep([m3], complete=False)
    assert HostedBefore(mine, tasks).tasks == (m1, m2, m3)
    second.keep([m1], complete=True)
    assert HostedBefore(mine, tasks).tasks == (m3, m1)
    assert HostedBefore(settings(tmp_path, ", {id: M9, server: PLC, browse: Objects/M9}"), tasks).tasks == ()


def test_a_broken_list_costs_only_its_advantage(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file that cannot be read is named in the log, and the gateway starts without."""
    (tmp_path / "hosted.json").write_text("{")
    mine = settings(tmp_path)
    assert HostedBefore(mine, bind_tasks(mine).tasks).tasks == ()
    assert "hosted.json" in caplog.text
