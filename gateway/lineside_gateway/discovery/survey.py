"""The way to servers and back: browse them, propose settings, write these, check them as ``lineside check`` does."""

from __future__ import annotations

import asyncio
import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from lineside_gateway.discovery.draft import PASSWORD_VARIABLE, Source, draft
from lineside_gateway.discovery.errors import DiscoveryError
from lineside_gateway.discovery.proposal import Proposal, propose
from lineside_gateway.discovery.wants import TaskWants, installed_wants
from lineside_gateway.opcua.browse import browse_server
from lineside_gateway.opcua.check import check_settings
from lineside_gateway.opcua.check_connect import check_connect
from lineside_gateway.opcua.finding import Finding, by_severity
from lineside_gateway.opcua.security import Pki
from lineside_gateway.settings import ServerSettings, load_settings
from lineside_plugins import registry


@dataclass(frozen=True, slots=True)
class Question:
    """What to look at, for which tasks (all that are installed where none is named), and where to write."""

    servers: tuple[ServerSettings, ...]
    out: Path
    tasks: tuple[str, ...] = ()
    start: str = "Objects"
    depth: int = 6
    most: int = 5000
    overwrite: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What was proposed and written; ``truncated`` where more nodes are there than were asked for."""

    proposal: Proposal
    truncated: bool
    broken: dict[str, str]
    """Installed tasks that cannot be used, with the cause."""


async def survey(question: Question) -> Answer:
    """Browse the servers and write the settings that were found.

    Raises:
        DiscoveryError: The file is there already, or there is nothing to propose.
        ConnectError: The server cannot be reached, is not trusted, or refuses the user.
        NodeError: Nothing at ``start``.
        TaskError: A task that was named cannot be used.
    """
    if question.out.exists() and not question.overwrite:
        raise DiscoveryError(f"{question.out} is there already; write over it with --force, or name another --out")
    wants, broken = _wants(question.tasks)
    pki, bounds = Pki.beside(question.out), {"max_depth": question.depth, "max_nodes": question.most}
    asked = [browse_server(server, pki, question.start, **bounds) for server in question.servers]
    found = await asyncio.gather(*asked)
    proposal = propose(
        {server.name: nodes for server, nodes in zip(question.servers, found, strict=True)},
        question.start, wants, asked=bool(question.tasks),
    )  # fmt: skip
    text = draft(
        proposal, Source(question.servers, question.start, sum(map(len, found)), shlex.quote(str(question.out)))
    )
    _write(question.out, text, overwrite=question.overwrite)
    return Answer(proposal, any(len(nodes) >= question.most for nodes in found), broken)


async def verify(question: Question) -> list[Finding]:
    """Findings of the settings that were written, offline and at the server, errors first."""
    password = question.servers[0].security.password
    given = {} if password is None else {PASSWORD_VARIABLE: password.get_secret_value()}
    settings = load_settings(question.out, {**os.environ, **given})
    return by_severity(check_settings(settings) + await check_connect(settings, Pki.of(settings)))


def _wants(tasks: tuple[str, ...]) -> tuple[dict[str, TaskWants], dict[str, str]]:
    wants, broken = installed_wants(tasks or registry.installed())
    for cause in broken.values():
        if tasks:
            raise registry.TaskError(cause)
    return wants, broken


def _write(out: Path, text: str, *, overwrite: bool) -> None:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with out.open("w" if overwrite else "x", encoding="utf-8") as f:
            f.write(text)
    except OSError as e:
        raise DiscoveryError(f"{out} cannot be written: {e.strerror or e}; name another --out") from e
