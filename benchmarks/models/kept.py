"""Finished rows on disk, so that a run that was broken off goes on where it stopped.

A data set's rows are used again while the code that made them is the same: its module and every module of ours that
it imports, comments and docstrings apart.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.models.row import Row

_OURS = ("benchmarks.models.", "lineside_plugins.learning.", "lineside_workers.learning.")
_FRAME = {f"benchmarks.models.{name}" for name in ("row", "setting", "kept", "__main__")}  # shows rows, makes none


@dataclass(frozen=True, slots=True)
class Finished:
    """Rows of one data set and the seconds that they took."""

    rows: tuple[Row, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Kept:
    """Finished rows below ``folder``; ``marks`` say under which options (seeds, quick, validate) they were made."""

    folder: Path
    marks: str

    def read(self, dataset: str) -> Finished | None:
        """What is kept of ``dataset`` under today's code and these options."""
        path = self._path(dataset)
        if not path.is_file():
            return None
        stored = json.loads(path.read_text())
        return Finished(tuple(Row(**row) for row in stored["rows"]), stored["seconds"])

    def write(self, dataset: str, finished: Finished) -> None:
        """Keep ``finished``; whole or not at all."""
        path = self._path(dataset)
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_suffix(".part")
        scratch.write_text(json.dumps({"rows": [asdict(r) for r in finished.rows], "seconds": finished.seconds}))
        scratch.replace(path)

    def _path(self, dataset: str) -> Path:
        return self.folder / f"rows-{dataset}-{self.marks}-{digest((f'benchmarks.models.{dataset}',))}.json"


@functools.cache
def digest(modules: tuple[str, ...], *, imported: bool = True) -> str:
    """Twelve hex digits of the code of ``modules``, and of what they import of ours unless ``imported`` is False.

    Read once per process: what is edited during a run does not pass for the code that ran.
    """
    names = closure(modules) if imported else sorted(modules)
    return hashlib.sha256("\n".join(_code(name) for name in names).encode()).hexdigest()[:12]


def closure(modules: Iterable[str]) -> Sequence[str]:
    """``modules`` and every module of ours that they import, at any depth, sorted."""
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += [other for other in _imports(name) if other.startswith(_OURS) and other not in _FRAME]
    return sorted(found)


def _imports(name: str) -> Iterator[str]:
    for node in ast.walk(_tree(name)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            package = importlib.util.find_spec(node.module)
            folders = [Path(place) for place in (package and package.submodule_search_locations) or ()]
            below = [alias.name for alias in node.names if any((f / f"{alias.name}.py").is_file() for f in folders)]
            yield from (f"{node.module}.{name}" for name in below)
            yield node.module


def _tree(name: str) -> ast.Module:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"module '{name}' has no source; install lineside from its checkout")
    return ast.parse(Path(spec.origin).read_text())


def _code(name: str) -> str:
    tree = _tree(name)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)
