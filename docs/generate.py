"""Write the reference pages from the code they describe: python docs/generate.py [--check].

settings.md comes from the settings' models, cli.md from the command line, contract.md from the public contract, the
README's table of trials from evaluation.json, the figures in models.md from models.json.
With ``--check`` nothing is written; the exit code is 1 where a page differs from the code.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

import click
import evaluation
import figures
import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

import lineside_plugins
from lineside_gateway.cli import app
from lineside_gateway.settings import Settings

HERE = Path(__file__).parent
README = HERE.parent / "README.md"
NOTE = "<!-- written by docs/generate.py; run `make docs` after a change -->\n\n"


_WORDS = {"str": "text", "bool": "true or false", "int": "whole number", "float": "number", "Path": "path",
          "SecretStr": "text", "object": "any"}  # fmt: skip


def _is_section(annotation: Any) -> bool:
    return inspect.isclass(annotation) and issubclass(annotation, BaseModel)


def _title(name: str) -> str:
    return name.removesuffix("Settings") or "The file"


def _type_name(annotation: Any) -> str:
    if inspect.isclass(annotation) and issubclass(annotation, Enum):
        return " \\| ".join(f"`{m.value}`" for m in annotation)
    origin, args = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return " or ".join(_type_name(a) for a in args if a is not type(None))
    if origin is tuple:
        return f"list of {_type_name(args[0])}"
    if origin is dict:
        return f"map of {_type_name(args[0])} to {_type_name(args[1])}"
    if origin is not None and args:
        return _type_name(args[0]) if inspect.isclass(args[0]) else ", ".join(f"`{a}`" for a in args)
    name = str(getattr(annotation, "__name__", annotation))
    return (
        f"[{_title(name)}](#{_title(name).lower().replace(' ', '-')})"
        if _is_section(annotation)
        else _WORDS.get(name, name)
    )


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if field.default_factory is not None:
        return ""
    if field.default is None or field.default in ((), ""):
        return ""
    value = field.default.value if isinstance(field.default, Enum) else field.default
    return f"`{value}`"


def _sections(model: type[BaseModel], seen: set[type[BaseModel]]) -> Iterator[type[BaseModel]]:
    if model in seen:
        return
    seen.add(model)
    yield model
    for field in model.model_fields.values():
        for inner in _models(field.annotation):
            yield from _sections(inner, seen)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if _is_section(annotation):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)


def settings_page() -> str:
    """Every section and key of the YAML file."""
    out = ["# Settings\n\n", NOTE, "One YAML file; an unknown key is an error with a suggestion. `${NAME}` and "]
    out.append("`${NAME:-default}` take environment variables. `lineside check FILE` validates it offline, "
               "`--connect` against the servers.\n")  # fmt: skip
    for model in _sections(Settings, set()):
        out.append(f"\n## {_title(model.__name__)}\n\n{inspect.getdoc(model)}\n\n")
        out.append("| key | type | default | meaning |\n|---|---|---|---|\n")
        for name, field in model.model_fields.items():
            meaning = (field.description or "").replace("|", "\\|")
            out.append(
                f"| `{field.alias or name}` | {_type_name(field.annotation)} | {_default(field)} | {meaning} |\n"
            )
    return "".join(out)


def _commands(group: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    """Commands by their whole name, those of a group behind it."""
    for name, command in sorted(group.commands.items()):
        yield f"{above}{name}", command
        if hasattr(command, "commands"):
            yield from _commands(command, f"{above}{name} ")


def cli_page() -> str:
    """Every command with its help, as the terminal shows it."""
    out = ["# Command line\n\n", NOTE, "Exit codes: 0 done, 1 a check or trial failed, 2 it could not go on.\n"]
    group = typer.main.get_command(app)
    assert isinstance(group, click.Group | typer.core.TyperGroup)  # noqa: S101 - more than one command makes a group
    for name, command in _commands(group):
        text = (command.help or "").replace("[bold]", "").replace("[dim]", "").replace("[/]", "")
        out.append(f"\n## lineside {name}\n\n{inspect.cleandoc(text)}\n")
        rows = [p for p in command.params if p.name != "help"]
        if rows:
            out.append("\n| parameter | meaning |\n|---|---|\n")
        for p in rows:
            label = ", ".join(p.opts) if p.param_type_name == "option" else (p.name or "").upper()
            out.append(f"| `{label}` | {(getattr(p, 'help', None) or '').replace('|', chr(92) + '|')} |\n")
    return "".join(out)


def contract_page() -> str:
    """Every public name of ``lineside_plugins``."""
    out = ["# The contract for task authors\n\n", NOTE, "`import lineside_plugins`; these names are public.\n"]
    for name in sorted(lineside_plugins.__all__):
        item = getattr(lineside_plugins, name)
        out.append(f"\n## {name}\n\n{inspect.getdoc(item)}\n")
        if inspect.isclass(item) and issubclass(item, Enum):
            out.extend(f"\n- `{m.name}` = `{m.value}`" for m in item)
            out.append("\n")
        for method, function in inspect.getmembers(item, inspect.isfunction):
            if not method.startswith("_") and method in vars(item):
                out.append(f"\n### {name}.{method}{inspect.signature(function)}\n\n{inspect.getdoc(function)}\n")
    return "".join(out)


def readme() -> str:
    """The README with the trials' figures as they were measured."""
    return evaluation.into(README.read_text())


def models_page() -> str:
    """The page on public data with the figures as they were measured."""
    return figures.into((HERE / "models.md").read_text())


PAGES = {
    HERE / "settings.md": settings_page,
    HERE / "cli.md": cli_page,
    HERE / "contract.md": contract_page,
    HERE / "models.md": models_page,
    README: readme,
}


def main() -> int:
    """Write or check the pages; returns the exit code."""
    stale = []
    for path, make in PAGES.items():
        text = make()
        if "--check" in sys.argv[1:]:
            if not path.exists() or path.read_text() != text:
                stale.append(path.name)
        else:
            path.write_text(text)
    if stale:
        sys.stderr.write(f"{', '.join(stale)} differ from the code; run: make docs\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
