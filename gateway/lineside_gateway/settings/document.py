"""A YAML text as plain data, with the line of every key and with ``${ENV}`` filled in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from lineside_gateway.errors import SettingsError

Path = tuple[str | int, ...]

_VARIABLE = re.compile(r"\$(\$)?\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


@dataclass(frozen=True, slots=True)
class Document:
    """``data`` as YAML gives it; ``lines`` maps the path of each key and item to its line, from 1."""

    data: Any
    lines: Mapping[Path, int]

    def line(self, path: Path) -> int:
        """Line of ``path``, or of the nearest parent that has one."""
        for n in range(len(path), -1, -1):
            if path[:n] in self.lines:
                return self.lines[path[:n]]
        return 1


def parse(text: str, environment: Mapping[str, str], source: str) -> Document:
    """Parse YAML safely; plain scalars with variables are typed after the variables are filled in.

    A variable's value is never parsed as YAML structure, so it cannot add keys.

    Raises:
        SettingsError: Not YAML, a key twice in one mapping, or a variable that is not set and has no default.
    """
    loader = yaml.SafeLoader(text)
    try:
        return _Reader(loader, environment, source).read()
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        line = mark.line + 1 if mark else 1
        raise SettingsError(f"{source}:{line}: this is not YAML: {e.problem}; correct the line", str(e)) from e
    except yaml.YAMLError as e:
        raise SettingsError(f"{source}: this is not YAML; save the file as UTF-8 text", str(e)) from e
    finally:
        loader.dispose()


class _Reader:
    """One pass over the node tree of a YAML document."""

    def __init__(self, loader: yaml.SafeLoader, environment: Mapping[str, str], source: str) -> None:
        self._loader = loader
        self._environment = environment
        self._source = source
        self._lines: dict[Path, int] = {(): 1}

    def read(self) -> Document:
        node = self._loader.get_single_node()
        return Document(None if node is None else self._build(node, ()), self._lines)

    def _build(self, node: yaml.Node, path: Path) -> Any:
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            items = []
            for i, item in enumerate(node.value):
                self._lines[*path, i] = item.start_mark.line + 1
                items.append(self._build(item, (*path, i)))
            return items
        if isinstance(node, yaml.ScalarNode) and "$" in node.value:
            value = self._fill(node.value, f"{self._source}:{node.start_mark.line + 1}: {dotted(path)}")
            tag = node.tag
            if node.style is None:
                tag = self._loader.resolve(yaml.ScalarNode, value, (True, False))  # type: ignore[no-untyped-call]  # untyped in the stubs
            node = yaml.ScalarNode(tag, value, node.start_mark, node.end_mark, node.style)
        return self._loader.construct_object(node, deep=True)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        self._loader.flatten_mapping(node)
        out: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(self._loader.construct_object(key_node))
            here = (*path, key)
            line = key_node.start_mark.line + 1
            if key in out:
                raise SettingsError(f"{self._source}:{line}: key '{dotted(here)}' stands twice; keep one")
            self._lines[here] = line
            out[key] = self._build(value_node, here)
        return out

    def _fill(self, text: str, where: str) -> str:
        def value(m: re.Match[str]) -> str:
            escaped, name, default = m.groups()
            if escaped:
                return m.group(0)[1:]
            if self._environment.get(name):
                return self._environment[name]
            if default is not None:
                return str(default)
            raise SettingsError(
                f"{where}: environment variable {name} is not set; set it or write ${{{name}:-default}}"
            )

        return _VARIABLE.sub(value, text)


def dotted(path: Path) -> str:
    """``servers[0].url``."""
    out = ""
    for part in path:
        out += f"[{part}]" if isinstance(part, int) else f".{part}" if out else part
    return out
