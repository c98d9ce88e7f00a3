"""What is wrong with a settings file, offline: tasks, effects, addresses, secrets, security."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from lineside_gateway.errors import NodeError, SettingsError
from lineside_gateway.opcua.addresses import NodeIdAddress, parse_address
from lineside_gateway.opcua.finding import Finding, by_severity, error, fine, warning
from lineside_gateway.settings import (
    Mode,
    SecurityPolicy,
    ServerSettings,
    Settings,
    SettingsProblemsError,
    TaskSettings,
    WriteSettings,
    load_settings,
    secret,
)
from lineside_plugins import registry
from lineside_plugins.contract import DataType, TaskPlugin

Tasks = Mapping[str, TaskPlugin[Any]]
_TEMPLATE = re.compile(r"\{(\w+)\}")


def check_file(path: str | Path) -> tuple[Settings | None, list[Finding]]:
    """Load and check a file without connecting; no Settings where it cannot be loaded."""
    try:
        settings = load_settings(path)
    except SettingsProblemsError as e:
        return None, [error(f"{path}:{p.line}: {p.where or 'file'}", p.text) for p in e.problems]
    except SettingsError as e:
        return None, [error(str(path), e.sentence)]
    return settings, check_settings(settings)


def check_settings(settings: Settings) -> list[Finding]:
    """Findings that need no connection, errors first."""
    tasks, found = create_tasks(settings)
    for i, server in enumerate(settings.servers):
        found += _check_security(f"servers[{i}] {server.name}", server)
    found += _check_addresses(settings)
    for i, task in enumerate(settings.tasks):
        if task.task in tasks:
            found += _check_effects(f"tasks[{i}] {task.task}", task, tasks[task.task])
    found += _check_hosted(settings)
    return by_severity(found)


def create_tasks(settings: Settings) -> tuple[Tasks, list[Finding]]:
    """The bound tasks, constructed without a model, and a finding for each entry."""
    tasks: dict[str, TaskPlugin[Any]] = {}
    found: list[Finding] = []
    for i, task in enumerate(settings.tasks):
        where = f"tasks[{i}] {task.task}"
        try:
            tasks[task.task] = registry.create(task.task, task.config)
        except registry.TaskError as e:
            found.append(error(where, str(e), "install it, correct its name, or take the entry out"))
            continue
        found.append(fine(where, f"installed, mode {task.mode}"))
    return tasks, found


def _check_security(where: str, server: ServerSettings) -> Iterable[Finding]:
    security = server.security
    for name in ("certificate", "private_key"):
        file = getattr(security, name)
        if file is not None and not file.is_file():
            yield error(f"{where}.security.{name}", f"{file} does not exist", "correct the path")
    for place in security.trust:
        if not place.exists():
            yield error(f"{where}.security.trust", f"{place} does not exist", "correct the path")
    try:
        secret(security)
    except SettingsError as e:
        yield error(f"{where}.security", e.sentence)
    if security.policy is not SecurityPolicy.NONE:
        return
    host = urlparse(server.url).hostname or ""
    if security.user is not None:
        yield warning(f"{where}.security", f"user '{security.user}' may be sent unencrypted", "set a policy")
    elif not _is_loopback(host):
        yield warning(f"{where}.security", f"the session with {host} is not secured", "set policy: Basic256Sha256")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_addresses(settings: Settings) -> Iterable[Finding]:
    texts = [(f"tags.{tag}", text) for tag, text in settings.tags.items()]
    for i, entry in enumerate(settings.equipment):
        texts.append((f"equipment[{i}].browse", entry.browse))
        texts += [(f"equipment[{i}].tags.{tag}", text) for tag, text in entry.tags.items()]
    if settings.job_control is not None:
        texts.append(("job_control.browse", settings.job_control.browse))
    texts += [(f"events[{i}].node", e.node) for i, e in enumerate(settings.events or ())]
    for where, text in texts:
        try:
            address = parse_address(text)
        except NodeError as e:
            yield error(where, e.sentence)
            continue
        if isinstance(address, NodeIdAddress) and address.by_index:
            what = f"'{text}' uses a namespace index, which a server may change at a restart"
            yield warning(where, what, "write nsu=<namespace URI>; 'lineside browse' shows it")


def _check_effects(where: str, task: TaskSettings, plugin: TaskPlugin[Any]) -> Iterable[Finding]:
    writes = task.mode in {Mode.CONFIRM, Mode.CLOSED_LOOP}
    if writes and not task.write:
        yield warning(where, f"mode {task.mode} has no write, so nothing in the plant changes", "add write")
    for j, write in enumerate(task.write):
        place = f"{where}.write[{j}]"
        if write.acknowledge is None and writes:
            yield warning(place, "without acknowledge nobody knows whether the plant acted", "name a counter tag")
        yield from _check_outputs(place, write, plugin)


def _check_outputs(where: str, write: WriteSettings, plugin: TaskPlugin[Any]) -> Iterable[Finding]:
    outputs = {f.name: f for f in plugin.outputs().fields}
    known = ", ".join(outputs)
    for tag, value in write.set.items():
        for name in _TEMPLATE.findall(value) if isinstance(value, str) else ():
            if name not in outputs:
                yield error(f"{where}.set.{tag}", f"'{{{name}}}' is not an output of the task; it has {known}")
    records = write.update_job_orders
    if records is not None and (records not in outputs or outputs[records].data_type is not DataType.RECORDS):
        yield error(f"{where}.update_job_orders", f"'{records}' is not a Records output of the task; it has {known}")


def _check_hosted(settings: Settings) -> Iterable[Finding]:
    hosted, security = urlparse(settings.gateway.endpoint), settings.gateway.security
    if security.anonymous and not _is_loopback(hosted.hostname or ""):
        what = f"everyone who reaches {hosted.hostname} may read the hosted server"
        yield warning("gateway.security.anonymous", what, "take it out and add users with 'lineside users add'")
    if not security.anonymous and not settings.gateway.users_file.is_file():
        what = f"nobody may read {settings.gateway.endpoint} yet"
        yield warning("gateway.security", what, "add a user with 'lineside users add NAME --role operator'")
    for server in settings.servers:
        url = urlparse(server.url)
        if (url.hostname, url.port) == (hosted.hostname, hosted.port):
            what = f"the gateway's own endpoint {settings.gateway.endpoint} is server '{server.name}'"
            yield error("gateway.endpoint", what, "choose another port")
