"""Servers in the tests' own processes start in a tenth of a second instead of one and a half."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from asyncua.server.internal_server import InternalServer

from lineside_plant.servers.standard_nodes import fill


@pytest.fixture(scope="session", autouse=True)
def quick_servers() -> Iterator[None]:
    """asyncua builds the standard nodes once per process and copies them for every server, as the plant's do."""

    async def load(self: InternalServer, _shelf_file: Path | None = None) -> None:
        fill(self.aspace)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(InternalServer, "load_standard_address_space", load)
        yield
