"""FUXA with the project that ships in docker/fuxa, its page seen in a headless Chromium."""

from __future__ import annotations

import json
import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from tests.interop.conftest import HERE, Start
from tests.interop.line import ALARMED, END, QUIET, line, show

FOLDER = HERE.parents[1] / "docker" / "fuxa"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ITEMS: dict[str, str] = {
    item["name"]: item_id
    for item_id, item in json.loads((FOLDER / "project.json").read_text())["hmi"]["views"][0]["items"].items()
}
"""Ids of the page's elements by name."""

pytestmark = [
    pytest.mark.interop("@frangoteam/fuxa@1.3.4", "node-opcua@2.186.0", "puppeteer-core@24.43.1"),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium; apt-get install chromium"),
]


def texts(**wanted: str) -> list[dict[str, object]]:
    return [{"id": ITEMS[name], "text": text} for name, text in wanted.items()]


def visible(**wanted: bool) -> list[dict[str, object]]:
    return [{"id": ITEMS[name], "visible": shown} for name, shown in wanted.items()]


def as_wanted(wanted: dict[str, object], shown: str | None) -> dict[str, object]:
    """What an element showed, in the terms of what was wanted of it."""
    return {**wanted, **({"text": shown} if "text" in wanted else {"visible": shown is not None})}


QUIET_PAGE = [
    *visible(maintenance_yes=False, maintenance_no=True, health_0=True, health_4=False, reject_yes=False),
    *visible(reject_no=True, schedule_yes=False, A1_maintenance_not_valid=False, A1_reject_not_valid=False),
    *texts(serial_no="A1-0001", rul_h="170.5 h", mode="none", schedule_summary="the agreed sequence stands"),
]
ALARMED_PAGE = [
    *visible(maintenance_yes=True, maintenance_no=False, health_0=False, health_4=True, reject_yes=True),
    *visible(reject_no=False, schedule_yes=True, A1_maintenance_not_valid=False, A1_reject_not_valid=False),
    *texts(serial_no="A1-0002", rul_h="6.2 h", mode="bearing", maintenance_reason="reason of maintenance"),
    *texts(schedule_summary="2 job orders change: JO-2 before JO-1", failure_probability="0.91"),
]
STALE_PAGE = visible(A1_maintenance_not_valid=True, A1_reject_not_valid=True, refplant_schedule_not_valid=True)


async def test_the_page_follows_what_is_recommended(tmp_path: Path, node: Start) -> None:
    """Maintenance flag, reject flag, schedule text and health change on FUXA's page, and what is stale looks stale."""
    steps = [QUIET_PAGE, ALARMED_PAGE, STALE_PAGE]
    async with line() as server:
        await show(server, QUIET, 0)
        environment = {"LINESIDE_ENDPOINT": server.endpoint, "FUXA_DIR": str(tmp_path), "FUXA_PORT": "0"}
        async with node(FOLDER / "start.js", environment=environment, silent=True) as fuxa:
            url = (await fuxa.step("lineside project at ")).split()[-1]
            given = {"url": url, "chromium": CHROMIUM, "steps": steps}
            async with node(HERE / "fuxa_screen.js", given=given) as screen:
                await screen.step("step 1")
                await show(server, ALARMED, 1)
                await screen.step("step 2")
                await server.expire(END + timedelta(hours=1))
                seen = await screen.result()
    for wanted, shown in zip(steps, seen, strict=False):
        assert [as_wanted(w, s) for w, s in zip(wanted, shown, strict=True)] == wanted
    assert len(seen) == len(steps)
