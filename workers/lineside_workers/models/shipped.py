"""What ships with a task: the weights beside its code, and the hash of that code."""

from __future__ import annotations

import hashlib
from pathlib import Path

from lineside_plugins.contract import TrainableTask
from lineside_plugins.registry import TaskError, package_folder, task_class
from lineside_workers.errors import ModelError


def builtin_folder(task: str) -> Path:
    """The weights that ship with ``task``.

    Raises:
        ModelError: The task is not installed, or ships no weights.
    """
    folder = shipped_folder(task)
    if not folder.is_dir():
        learns = issubclass(task_class(task), TrainableTask)
        step = f"run: lineside train {task}" if learns else "make one as its README says, and set LINESIDE_MODELS"
        raise ModelError(f"task '{task}' ships no weights ({folder}); {step}")
    return folder


def shipped_folder(task: str) -> Path:
    """Where the weights of ``task`` ship, there or not: folder ``weights`` of the package of its entry point.

    Raises:
        ModelError: The task is not installed, or its package cannot be found.
    """
    return _package(task) / "weights"


def code_hash(task: str) -> str:
    """SHA-256 over the Python files of the package of ``task``, in name order.

    Raises:
        ModelError: The task is not installed, or its package cannot be found.
    """
    return files_hash(sorted(_package(task).rglob("*.py")))


def files_hash(paths: list[Path]) -> str:
    """SHA-256 over names and contents of ``paths`` in the order given."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as f:
            digest.update(f"{path.name}\0{hashlib.file_digest(f, 'sha256').hexdigest()}\0".encode())
    return digest.hexdigest()


def _package(task: str) -> Path:
    try:
        return package_folder(task)
    except TaskError as e:
        raise ModelError(str(e)) from e
