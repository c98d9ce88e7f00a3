"""Programs of another make, run by node: where their packages are, and how a test talks with them.

``@pytest.mark.interop("package@version", ...)`` skips a test where node or a package is missing. Packages are looked
for in the node_modules of this folder, or in those that ``LINESIDE_NODE_MODULES`` names (several separated as in PATH).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
PLACES = [Path(p) for p in os.environ.get("LINESIDE_NODE_MODULES", str(HERE / "node_modules")).split(os.pathsep)]
TALK_S = 150.0
"""Limit of a whole conversation on a loaded machine; it takes some seconds."""
COMPILED = {"@frangoteam/fuxa": ("sqlite3", "build/Release/node_sqlite3.node")}
"""A package with a compiled part that npm leaves out where install scripts are off: its package and file."""


def missing(wanted: str) -> str:
    """Why ``package@version`` cannot be used here, "" where it can."""
    package = wanted.rpartition("@")[0]
    found = next((place for place in PLACES if (place / package).is_dir()), None)
    if found is None:
        return f"no {package} in {', '.join(map(str, PLACES))}; npm install {wanted} there (LINESIDE_NODE_MODULES)"
    inner, binary = COMPILED.get(package, ("", ""))
    if binary and not (found / inner / binary).is_file():
        return f"{inner} is not compiled; run npx node-gyp rebuild in {found / inner}"
    return ""


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what another make's program is missing for."""
    for mark in item.iter_markers("interop"):
        if shutil.which("node") is None:
            pytest.skip("node is not installed")
        for reason in filter(None, map(missing, mark.args)):
            pytest.skip(reason)


@dataclass
class Program:
    """A running node program. It tells its steps on stderr, a line each, and one JSON value on stdout at its end."""

    process: asyncio.subprocess.Process

    async def step(self, words: str) -> str:
        """The line in which it says ``words``, waited for."""
        assert self.process.stderr is not None
        said = []
        while words not in (line := (await self.process.stderr.readline()).decode()):
            said.append(line)
            assert line, f"it ended before it said '{words}': {''.join(said)}"
        return line

    async def result(self) -> Any:
        """What it found, when it has ended well."""
        out, err = await self.process.communicate()
        assert self.process.returncode == 0, err.decode()
        return json.loads(out.decode().splitlines()[-1])


Start = Callable[..., contextlib.AbstractAsyncContextManager[Program]]


@contextlib.asynccontextmanager
async def _start(
    *command: str | Path, given: object = None, environment: Mapping[str, str] | None = None, silent: bool = False
) -> AsyncIterator[Program]:
    pipe, aside = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(
        "node", *map(str, command), env={**os.environ, "NODE_PATH": os.pathsep.join(map(str, PLACES)),
                                         **(environment or {})},
        stdin=pipe, stdout=aside if silent else pipe, stderr=pipe,
    )  # fmt: skip
    assert process.stdin is not None
    process.stdin.write(json.dumps(given).encode())
    process.stdin.close()
    try:
        async with asyncio.timeout(TALK_S):
            yield Program(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.fixture
def node() -> Start:
    """Starts ``node script ...`` with ``given`` as JSON on stdin; ends it where the test ends first.

    ``silent`` is for servers, whose stdout nobody reads.
    """
    return _start
