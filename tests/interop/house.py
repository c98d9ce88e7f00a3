"""A hosted server with users, and one recommendation per machine, for programs of another make to come to."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lineside_gateway.hosting import Access, Role
from lineside_gateway.hosting.users import UsersFile
from lineside_gateway.opcua.security import Pki
from lineside_gateway.publish import AlarmAnswer, Answer, HistoryStore, HostedServer, HostedTask
from lineside_gateway.settings.model import Mode
from lineside_plugins.contract import DataType, OutputField, Outputs
from lineside_plugins.types import Kind, Reason, Recommendation

PASSWORD = "correct horse battery"  # noqa: S105 - of the users made here
END = datetime(2026, 1, 5, 7, 0, tzinfo=UTC)
OUTPUTS = Outputs(Kind.MAINTENANCE, (OutputField("flag", DataType.BOOLEAN, "Maintenance is advised"),), "flag")
VIV, OTTO = ({"name": name, "password": PASSWORD} for name in ("viv", "otto"))


def advice(machine: str, minute: int) -> Recommendation:
    """A flag that is up from the first minute on."""
    end = END + timedelta(minutes=minute)
    return Recommendation(
        task="maintenance", kind=Kind.MAINTENANCE, equipment_id=machine, value={"flag": minute > 0}, confidence=0.9,
        interval=None, reasons=(Reason("VibRms", 0.7, "vibration doubled"),), window_end=end,
        valid_until=end + timedelta(minutes=10), model="maintenance", model_version="1.2.0", key=f"{machine}|{minute}",
    )  # fmt: skip


@dataclass
class Desk:
    """Takes every answer."""

    taken: list[Answer] = field(default_factory=list)
    held: list[str] = field(default_factory=list)

    def note(self, answer: AlarmAnswer) -> str:
        return f"nobody notes {answer.tag}"

    def take(self, answer: Answer) -> str:
        self.taken.append(answer)
        return ""

    async def hold(self, demoted: bool, user: str, why: str) -> None:
        assert demoted, why
        self.held.append(user)


@dataclass
class House:
    """The server and what a program needs to come in: viv views, otto operates, cora operates with a certificate."""

    server: HostedServer
    desk: Desk
    way_in: dict[str, str]
    cora: dict[str, str]


@contextlib.asynccontextmanager
async def house(folder: Path, machines: Sequence[str], *, anonymous: bool) -> AsyncIterator[House]:
    """Users over secured channels; with ``anonymous`` clients without user too, over an unsecured one."""
    mine, person = Pki(folder / "client", "client"), Pki(folder / "person", "person")
    users = UsersFile(folder / "users.yaml")
    users.add("viv", Role.VIEWER, password=PASSWORD)
    users.add("otto", Role.OPERATOR, password=PASSWORD)
    users.add("cora", Role.OPERATOR, certificate=person.own()[0].read_bytes())
    (folder / "pki" / "trusted").mkdir(parents=True)
    shutil.copy(mine.own()[0], folder / "pki" / "trusted" / "client.der")
    access = Access(anonymous=anonymous, pki=Pki(folder / "pki", "line-1"), users=users.path)
    tasks = [HostedTask("maintenance", m, OUTPUTS, Mode.CONFIRM, ("", "", "Milling")) for m in machines]
    desk, history = Desk(), HistoryStore(folder / "history.sqlite", 3600.0)
    server = HostedServer("opc.tcp://127.0.0.1:0/lineside", "line-1", tasks, answers=desk, access=access)
    await server.start(history)
    way_in = {
        "endpoint": server.endpoint, "uri": mine.application_uri, "certificate": str(mine.own()[0]),
        "key": str(mine.own()[1]), "pki": str(folder / "node-pki"),
    }  # fmt: skip
    try:
        yield House(server, desk, way_in, {"certificate": str(person.own()[0]), "key": str(person.own()[1])})
    finally:
        await server.stop()
        history.close()
