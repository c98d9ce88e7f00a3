from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lineside_plugins import registry
from lineside_plugins.testing import (
    CHECKS,
    BrokenError,
    Check,
    Outcome,
    SkippedError,
    Subject,
    check_task,
    synthetic_batch,
)
from lineside_workers.errors import ModelError
from lineside_workers.models.store import ModelStore

SOUND = """
import numpy as np
from pydantic import Field
from lineside_plugins import (
    Advice, Channel, DataType, Inputs, Kind, OutputField, Outputs, TaskConfig, TaskPlugin, Trigger, WindowSpec,
)

class Config(TaskConfig):
    threshold: float = Field(default=0.0, description="Mean above which the flag is raised.")

class Task(TaskPlugin[Config]):
    config_type = Config
    needs_model = False

    def inputs(self):
        return Inputs(Trigger(every_s=60), deadline_s=30, window=WindowSpec((Channel("Load"),), 8, 1.0))

    def outputs(self):
        fields = (
            OutputField("flag", DataType.BOOLEAN, "the mean is high"),
            OutputField("mean", DataType.DOUBLE, "mean load", low=-10, high=10),
        )
        return Outputs(Kind.REJECT, fields, "flag")

    def recommend(self, batch):
        return [self.one(batch.values[i, :, 0], batch.good[i, :, 0]) for i in range(len(batch))]

    def one(self, load, good):
        if not good.any():
            return None
        mean = float(load[good].mean())
        return Advice({"flag": mean > self.config.threshold, "mean": mean}, confidence=0.5)
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """Installs the sound task with replacements in its source; returns its name."""
    package = tmp_path / "sound_task"
    package.mkdir()
    info = tmp_path / "sound_task-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: sound-task\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[lineside.tasks]\nsound = sound_task.task:Task\n")
    (package / "README.md").write_text("# sound\n")
    (package / "sample.yaml").write_text("task: sound\nconfig:\n  threshold: 0.5\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    def build(*replacements: tuple[str, str], sample: str = "") -> str:
        source = SOUND
        for old, new in replacements:
            assert old in source
            source = source.replace(old, new)
        (package / "__init__.py").write_text("")
        (package / "task.py").write_text(source)
        if sample:
            (package / "sample.yaml").write_text(sample)
        return "sound"

    yield build
    for name in [n for n in sys.modules if n.partition(".")[0] == "sound_task"]:
        del sys.modules[name]


BY_NAME = {check.name: check for check in CHECKS}
ONE = "self.one(batch.values[i, :, 0]"


def test_a_sound_task_passes_every_check(install: Callable[..., str]) -> None:
    """Thirty lines of a stranger's task are enough to conform."""
    results = check_task(install())
    assert [r for r in results if r.outcome is not Outcome.PASSED] == []
    assert len(results) == len(CHECKS) == 16


@pytest.mark.parametrize(
    ("check", "old", "new", "why"),
    [
        ("imports_are_light", "import numpy as np\n", "import numpy as np\nimport redis\n", "import redis"),
        ("inputs_and_outputs_are_pure", "deadline_s=30", "deadline_s=id(object()) + __import__('time').time_ns()",
         r"inputs\(\) changes"),
        ("inputs_make_sense", "every_s=60", "", "no trigger is set"),
        ("inputs_make_sense", "8, 1.0", "0, 1.0", "window.length is 0"),
        ("outputs_make_sense", '"flag")', '"mean")', "flag 'mean' must name"),
        ("outputs_make_sense", "low=-10", "low=10", "bounds 10..10"),
        ("config_is_described", ', description="Mean above which the flag is raised."', "", "'threshold' has no descr"),
        ("one_entry_per_window", "range(len(batch))]", "range(1)]", "1 entries for 5 windows"),
        ("one_entry_per_window", "return Advice(", "return dict(value=", "returns dict"),
        ("advice_keeps_its_declaration", "confidence=0.5", "confidence=2.0", "confidence is 2"),
        ("advice_keeps_its_declaration", '"mean": mean}', '"mean": mean, "extra": 1}', "undeclared 'extra'"),
        ("batch_is_not_mutated", "mean = float(", "load *= 0; mean = float(", "changed its batch"),
        ("read_only_batches_are_taken", "mean = float(", "load += 0; mean = float(", "read-only"),
        ("poor_windows_are_survived", "if not good.any():", "if False:", "mean is nan"),
        ("answers_are_deterministic", "load[good].mean()", "np.random.default_rng().random()", "the second time"),
        ("order_does_not_matter", ONE, ONE + " + i",
         "in another order"),
        ("neighbours_do_not_matter", ONE, ONE + " - batch.values.mean()",
         "alone"),
        ("close_can_follow_load", "    def one(", "    def close(self): raise OSError('shut')\n    def one(", "shut"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:Mean of empty slice", "ignore:invalid value encountered")
def test_each_rule_catches_the_task_that_breaks_it(
    install: Callable[..., str], check: str, old: str, new: str, why: str
) -> None:
    """A task with one fault fails the check for that fault, with a sentence for its author."""
    subject = Subject(install((old, new)))
    with pytest.raises(Exception, match=why):
        BY_NAME[check](subject)


@pytest.mark.parametrize(
    ("sample", "why"),
    [("task: other\n", "no entry 'task: sound'"), ("tasks:\n  - {task: sound, config: {limit: 1}}\n", "'limit'")],
)
def test_a_sample_that_would_not_work_is_caught(install: Callable[..., str], sample: str, why: str) -> None:
    """The sample beside a task names it and validates."""
    subject = Subject(install(sample=sample))
    with pytest.raises((BrokenError, registry.TaskError), match=why):
        BY_NAME["folder_is_complete"](subject)


@pytest.mark.parametrize("check", CHECKS, ids=str)
@pytest.mark.parametrize(
    "task", [n for n in registry.installed() if n in ("compensation", "condition", "maintenance", "reject", "schedule")]
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.InconsistentVersionWarning")
def test_built_in_tasks_keep_the_contract(task: str, check: Check) -> None:
    """What ships is held to the same rules as what strangers write."""
    model = None
    if registry.task_class(task).needs_model:
        with contextlib.suppress(ModelError):  # not trained yet: the checks that need a model skip themselves
            model = ModelStore().load(ModelStore().folder(task))
    try:
        check(Subject(task, model))
    except SkippedError as e:
        pytest.skip(str(e))


def test_a_batch_of_ones_own_is_what_is_checked(install: Callable[..., str]) -> None:
    """Real windows reach faults that synthetic ones do not."""
    name = install(("mean = float(load[good].mean())", "mean = 99.0 if load[0] == 77 else float(load[good].mean())"))
    check = BY_NAME["advice_keeps_its_declaration"]
    check(Subject(name))
    batch = synthetic_batch(registry.create(name).inputs(), 2, seed=1)
    values = batch.values.copy()
    values[1, 0, 0] = 77
    with pytest.raises(BrokenError, match=r"window 1: mean is 99; bounds are -10..10"):
        check(Subject(name, batch=dataclasses.replace(batch, values=values)))


def test_a_report_of_a_faulty_task_holds_every_outcome(install: Callable[..., str]) -> None:
    """check_task goes on after a failure, and an exception of the task is a failed check."""
    results = {r.name: r for r in check_task(install(("load[good].mean()", "load[99]")))}
    assert len(results) == len(CHECKS)
    assert results["inputs_make_sense"].outcome is Outcome.PASSED
    assert results["one_entry_per_window"].outcome is Outcome.FAILED
    assert results["one_entry_per_window"].detail.startswith("IndexError")
