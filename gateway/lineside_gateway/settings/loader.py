"""From a YAML file to ``Settings``, or to every problem in it at once, each with line, path and suggestion."""

from __future__ import annotations

import difflib
import os
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from lineside_gateway.errors import SettingsError
from lineside_gateway.settings.document import Document, dotted, parse
from lineside_gateway.settings.document import Path as KeyPath
from lineside_gateway.settings.model import Settings
from lineside_gateway.settings.server import SecuritySettings
from lineside_gateway.settings.services import BrokerSettings

_BRANCHES = {"str", "bool", "int", "float"}  # how pydantic names the branches of a union in a location


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in the file: ``where`` is the YAML path, ``text`` says what and the next step."""

    where: str
    line: int
    text: str


class SettingsProblemsError(SettingsError):
    """The file has problems; ``problems`` lists all of them, the message shows all."""

    def __init__(self, source: str, problems: tuple[Problem, ...]) -> None:
        rows = [f"{source}:{p.line}: {p.where or 'file'}: {p.text}" for p in problems]
        super().__init__("\n".join(rows))
        self.problems = problems


def load_settings(path: str | Path, environment: Mapping[str, str] | None = None) -> Settings:
    """Read and validate the file; relative paths in it count from its folder.

    Raises:
        SettingsError: No such file, not YAML, or problems in it (``SettingsProblemsError``); correct the file.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError as e:
        raise SettingsError(f"settings file {file} does not exist; give the path of a YAML file") from e
    except (OSError, UnicodeDecodeError) as e:
        raise SettingsError(f"settings file {file} cannot be read: {e}; check its rights and encoding") from e
    return read_settings(text, source=str(file), folder=file.resolve().parent, environment=environment)


def read_settings(
    text: str, *, source: str = "settings", folder: Path | None = None, environment: Mapping[str, str] | None = None
) -> Settings:
    """Validate a YAML text; see ``load_settings``.

    Raises:
        SettingsError: Not YAML, or problems in it (``SettingsProblemsError``).
    """
    document = parse(text, os.environ if environment is None else environment, source)
    if not isinstance(document.data, dict):
        raise SettingsError(f"{source}: the file is not a mapping; it starts with 'version: 1'")
    # Sections that are left out are validated like empty ones, so that their default paths too count from the folder.
    data: dict[str, Any] = {"gateway": {}, "broker": {}, **document.data}
    try:
        settings = Settings.model_validate(data, context={"folder": folder})
    except ValidationError as e:
        raise SettingsProblemsError(source, tuple(_problems(e, document))) from e
    problems = tuple(_reference_problems(settings, document))
    if problems:
        raise SettingsProblemsError(source, problems)
    return settings


def settings_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of the settings file, for editors and docs."""
    schema = Settings.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "Lineside gateway settings"
    return schema


def secret(section: SecuritySettings | BrokerSettings) -> str | None:
    """The password, read from its file at the time of the call, so that a rotated secret is picked up.

    Raises:
        SettingsError: The file cannot be read.
    """
    if section.password_file is not None:
        try:
            return section.password_file.read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
        except (OSError, UnicodeDecodeError) as e:
            raise SettingsError(f"password_file {section.password_file} cannot be read: {e}; check path, rights") from e
    if isinstance(section, SecuritySettings) and section.password is not None:
        return section.password.get_secret_value()
    return None


def _problems(error: ValidationError, document: Document) -> Iterable[Problem]:
    found: dict[KeyPath, list[str]] = {}
    for e in error.errors():
        path: KeyPath = _yaml_path(e["loc"], document)
        kind, text = e["type"], e["msg"].removeprefix("Value error, ")
        if kind == "too_short" and e["input"]:
            continue  # its items are wrong, and each of them is listed
        if kind == "extra_forbidden":
            known = _known_keys(path[:-1])
            text = f"unknown key '{path[-1]}'{_suggest(str(path[-1]), known)}"
        elif kind == "missing":
            text = "this key is required"
        elif kind != "value_error" and not isinstance(e["input"], dict | list):
            text = f"{text}; got {e['input']!r}"
        found.setdefault(path, []).append(text)
    for path, texts in found.items():
        yield Problem(dotted(path), document.line(path), "; or ".join(texts))


def _yaml_path(loc: tuple[int | str, ...], document: Document) -> KeyPath:
    """Drop the parts of a pydantic location that name a union's branch rather than a key of the file."""
    out: KeyPath = ()
    for i, part in enumerate(loc):
        last = i == len(loc) - 1
        if last or (*out, part) in document.lines:
            out = (*out, part)
    if out not in document.lines and isinstance(out[-1], str) and ("[" in out[-1] or out[-1] in _BRANCHES):
        out = out[:-1]
    return out


def _known_keys(path: KeyPath) -> list[str]:
    model: type[BaseModel] | None = Settings
    for part in path:
        if isinstance(part, int) or model is None:
            continue
        field = model.model_fields.get(part)
        model = None if field is None else _section_of(field.annotation)
    return [] if model is None else list(model.model_fields)


def _section_of(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return annotation if issubclass(annotation, BaseModel) else None
    for inner in typing.get_args(annotation):
        found = _section_of(inner)
        if found is not None:
            return found
    return None


def _suggest(word: str, known: Iterable[str]) -> str:
    known = list(known)
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean '{near[0]}'?" if near else f"; known: {', '.join(known) or 'none'}"


def _reference_problems(settings: Settings, document: Document) -> Iterable[Problem]:
    names = [s.name for s in settings.servers]

    def problem(path: KeyPath, text: str) -> Problem:
        return Problem(dotted(path), document.line(path), text)

    def unknown(path: KeyPath, name: str) -> Problem:
        return problem(path, f"server '{name}' is not among servers{_suggest(name, names)}")

    for i, equipment in enumerate(settings.equipment):
        if equipment.server is None and len(names) > 1:
            yield problem(("equipment", i), f"server is missing; with several servers name one of {', '.join(names)}")
        elif equipment.server is not None and equipment.server not in names:
            yield unknown(("equipment", i, "server"), equipment.server)
    if settings.job_control is not None and settings.job_control.server not in names:
        yield unknown(("job_control", "server"), settings.job_control.server)
    for i, source in enumerate(settings.events or ()):
        if source.server not in names:
            yield unknown(("events", i, "server"), source.server)
    ids = [e.id for e in settings.equipment if e.id is not None]
    for i, equipment in enumerate(settings.equipment):
        if equipment.id is not None and ids.count(equipment.id) > 1 and ids.index(equipment.id) != i:
            yield problem(("equipment", i, "id"), f"equipment id '{equipment.id}' is used twice; ids are unique")
    for i, task in enumerate(settings.tasks):
        sends_orders = any(w.update_job_orders is not None for w in task.write)
        if sends_orders and settings.job_control is None:
            yield problem(("tasks", i, "write"), "update_job_orders needs job_control; add the MES's server")
