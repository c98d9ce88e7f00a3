"""Checks of what a task declares and ships; none of them needs a model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from lineside_plugins import registry
from lineside_plugins.conformance.subject import Subject, expect
from lineside_plugins.contract import DataType, TaskConfig

MODEL_LIBRARIES = ("torch", "transformers", "sklearn", "ortools", "tensorflow", "jax", "onnxruntime")
OTHER_SIDES = ("asyncua", "celery", "redis", "lineside_gateway", "lineside_workers")
CHEAP_S = 0.05  # a gateway asks once per binding at start; hundreds of bindings must stay below a second or so


def imports_are_light(subject: Subject) -> None:
    """Inputs and outputs come without model libraries, OPC UA, Celery, gateway or worker being imported."""
    heavy = (*MODEL_LIBRARIES, *OTHER_SIDES)
    code = (
        "import json, sys\n"
        "from lineside_plugins import registry\n"
        f"task = registry.create({subject.name!r}, json.loads({json.dumps(dict(subject.config))!r}))\n"
        "task.inputs(), task.outputs()\n"
        f"print(json.dumps([m for m in {heavy!r} if m in sys.modules]))\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    run = subprocess.run(  # noqa: S603  # a fresh interpreter, for this one may have imported anything
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment, timeout=120
    )
    expect(run.returncode == 0, f"inputs and outputs fail in a fresh process: {run.stderr.strip()[-400:]}")
    found = json.loads(run.stdout.splitlines()[-1])
    expect(not found, f"inputs and outputs import {', '.join(found)}; import it inside load or fit instead")


def inputs_and_outputs_are_pure(subject: Subject) -> None:
    """Two calls, and two instances, declare the same; and quickly."""
    task, other = subject.fresh(), subject.fresh()
    started = time.perf_counter()
    inputs, outputs = task.inputs(), task.outputs()
    took = time.perf_counter() - started
    expect(inputs == task.inputs() == other.inputs(), "inputs() changes from call to call; derive it from config only")
    expect(outputs == task.outputs() == other.outputs(), "outputs() changes from call to call; derive it from config")
    expect(took < CHEAP_S, f"inputs() and outputs() take {took * 1000:.0f} ms; at most {CHEAP_S * 1000:.0f} ms")


def inputs_make_sense(subject: Subject) -> None:
    """Something triggers a window, and lengths, periods and deadlines are positive."""
    inputs = subject.fresh().inputs()
    trigger, window = inputs.trigger, inputs.window
    expect(trigger.every_s or trigger.on_change or trigger.on_records, "no trigger is set; set every_s or on_change")
    expect(trigger.every_s is None or trigger.every_s > 0, f"trigger.every_s is {trigger.every_s}; more than 0")
    expect(trigger.min_interval_s >= 0, f"trigger.min_interval_s is {trigger.min_interval_s}; at least 0")
    expect(inputs.deadline_s > 0, f"deadline_s is {inputs.deadline_s}; more than 0")
    expect(window or inputs.snapshot or inputs.records, "the task sees nothing; declare a window, snapshot or records")
    if window is not None:
        tags = [c.tag for c in window.channels]
        expect(tags, "the window has no channels")
        expect(len(set(tags)) == len(tags), f"a channel is declared twice: {', '.join(tags)}")
        expect(window.length > 0, f"window.length is {window.length}; at least 1")
        expect(window.period_s > 0, f"window.period_s is {window.period_s}; more than 0")
        expect(0 <= window.min_good <= 1, f"window.min_good is {window.min_good}; 0..1")
    streams = [r.stream for r in inputs.records]
    expect(len(set(streams)) == len(streams), f"a record stream is declared twice: {', '.join(streams)}")


def outputs_make_sense(subject: Subject) -> None:
    """Names are identifiers and unique, each has a description, bounds are ordered, the flag is a Boolean."""
    outputs = subject.fresh().outputs()
    expect(len(set(outputs.names)) == len(outputs.names), f"a field is declared twice: {', '.join(outputs.names)}")
    types = {f.name: f.data_type for f in outputs.fields}
    expect(
        types.get(outputs.flag) is DataType.BOOLEAN, f"flag '{outputs.flag}' must name a declared field of type Boolean"
    )
    for f in outputs.fields:
        expect(f.name.isidentifier() and f.name.islower(), f"field '{f.name}' must be a lower-case identifier")
        expect(f.description.strip(), f"field '{f.name}' has no description; operators see it in their HMI")
        expect(f.low is None or f.high is None or f.low < f.high, f"field '{f.name}' has bounds {f.low}..{f.high}")


def config_is_described(subject: Subject) -> None:
    """The configuration has defaults, forbids unknown keys, and describes every key in its JSON Schema."""
    kind = registry.task_class(subject.name).config_type
    expect(issubclass(kind, TaskConfig), f"config_type {kind.__name__} must derive from TaskConfig")
    kind()
    expect(kind.model_config.get("extra") == "forbid", "config_type must forbid unknown keys: extra='forbid'")
    expect(kind.model_config.get("frozen"), "config_type must be frozen")
    properties = kind.model_json_schema().get("properties", {})
    bare = [k for k, v in properties.items() if not v.get("description") and "$ref" not in v and "allOf" not in v]
    expect(not bare, f"config key '{(bare or ['?'])[0]}' has no description; use Field(description=...)")


def folder_is_complete(subject: Subject) -> None:
    """README.md and sample.yaml lie beside the code; the sample names the task and its configuration validates."""
    package = registry.installed()[subject.name].module.rpartition(".")[0]
    expect(package, f"task '{subject.name}' must live in a package, for its README.md and sample.yaml")
    folder = Path(str(files(package)))
    for name in ("README.md", "sample.yaml"):
        path = folder / name
        expect(path.is_file() and path.read_text(encoding="utf-8").strip(), f"{path} is missing or empty")
    try:
        import yaml  # noqa: PLC0415  # a gateway dependency; without it only the presence is checked
    except ImportError:
        return
    entry = _entry(yaml.safe_load((folder / "sample.yaml").read_text(encoding="utf-8")), subject.name)
    expect(entry is not None, f"{folder / 'sample.yaml'} has no entry 'task: {subject.name}'")
    registry.create(subject.name, (entry or {}).get("config") or {})


def _entry(document: Any, name: str) -> Mapping[str, Any] | None:
    """The binding of ``name`` in a sample: the document itself, an item of a list, or one under ``tasks``."""
    if isinstance(document, Mapping) and document.get("task") != name:
        document = document.get("tasks")
    items = document if isinstance(document, list) else [document]
    return next((i for i in items if isinstance(i, Mapping) and i.get("task") == name), None)
