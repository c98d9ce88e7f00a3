"""Installed tasks, found by the entry point group ``lineside.tasks``. Listing runs no plugin code."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lineside_plugins.contract import TaskPlugin

GROUP = "lineside.tasks"


class TaskError(LookupError):
    """A task cannot be used; the message says which, why and what is there instead."""


def installed() -> dict[str, EntryPoint]:
    """Entry points by task name, sorted; nothing is imported."""
    return {e.name: e for e in sorted(entry_points(group=GROUP), key=lambda e: e.name)}


def package_folder(name: str) -> Path:
    """Folder of the package of a task's entry point: its code, its README and, where they ship, its ``weights``.

    Raises:
        TaskError: Not installed, or its package cannot be found.
    """
    point = _entry(name)
    package = point.module.rpartition(".")[0] or point.module
    try:
        return Path(str(files(package)))
    except (ImportError, TypeError) as e:
        raise TaskError(f"package '{package}' of task '{name}' cannot be found: {e}; reinstall it") from e


def task_class(name: str) -> type[TaskPlugin[Any]]:
    """Import the class registered as ``name``.

    Raises:
        TaskError: Not installed, not importable, or not a TaskPlugin.
    """
    point = _entry(name)
    try:
        cls = point.load()
    except Exception as e:  # supervision point: importing runs a stranger's code
        why = f"{type(e).__name__}: {e}"
        raise TaskError(f"task '{name}' cannot be imported from {point.value}: {why}; reinstall it") from e
    if not (isinstance(cls, type) and issubclass(cls, TaskPlugin)):
        raise TaskError(f"task '{name}' ({point.value}) is not a subclass of lineside_plugins.TaskPlugin")
    return cls


def _entry(name: str) -> EntryPoint:
    found = installed()
    if name not in found:
        near = difflib.get_close_matches(name, found, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise TaskError(f"task '{name}' is not installed; installed: {', '.join(found) or 'none'}{hint}")
    return found[name]


def create(name: str, config: Mapping[str, object] | None = None) -> TaskPlugin[Any]:
    """Construct the task with its validated configuration; no model is loaded.

    Raises:
        TaskError: Not installed, or the configuration does not fit; the message names the key and the bound.
    """
    cls = task_class(name)
    try:
        parsed = cls.config_type.model_validate(dict(config or {}))
    except ValidationError as e:
        first = e.errors()[0]
        where = ".".join(str(p) for p in first["loc"]) or "config"
        known = ", ".join(cls.config_type.model_fields)
        raise TaskError(f"task '{name}': config key '{where}': {first['msg']}; known keys: {known}") from e
    return cls(parsed)
