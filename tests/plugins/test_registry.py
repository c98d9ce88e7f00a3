from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lineside_plugins import registry
from lineside_plugins.registry import TaskError

GOOD = """
from lineside_plugins import DataType, Inputs, Kind, OutputField, Outputs, RecordSpec, TaskConfig, TaskPlugin, Trigger
class Config(TaskConfig):
    threshold: float = 0.5
class Task(TaskPlugin[Config]):
    config_type = Config
    needs_model = False
    def inputs(self): return Inputs(Trigger(every_s=1), deadline_s=1, records=(RecordSpec("events"),))
    def outputs(self): return Outputs(Kind.REJECT, (OutputField("flag", DataType.BOOLEAN, "d"),), "flag")
    def recommend(self, batch): return [None] * len(batch)
class NotATask: ...
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "strange_tasks.py").write_text(GOOD)
    (tmp_path / "strange_bomb.py").write_text("1 / 0\n")
    info = tmp_path / "strange_tasks-2.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: strange-tasks\nVersion: 2.0\n")
    (info / "entry_points.txt").write_text(
        "[lineside.tasks]\nstrange = strange_tasks:Task\nnoclass = strange_tasks:NotATask\n"
        "gone = strange_nowhere:Task\nmisnamed = strange_tasks:Missing\nexploding = strange_bomb:Task\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("strange_tasks", None)


@pytest.mark.usefixtures("site")
def test_a_strangers_task_is_found_beside_the_built_in_ones() -> None:
    """Installing a distribution is all it takes."""
    assert {"compensation", "maintenance", "reject", "schedule", "strange"} <= set(registry.installed())
    task = registry.create("strange", {"threshold": 0.7})
    assert task.config.threshold == 0.7


def test_listing_imports_nothing(site: Path) -> None:
    """A broken plugin does not break the list, for its code is not run."""
    code = (
        f"import sys; sys.path.insert(0, {str(site)!r}); from lineside_plugins import registry; "
        "print('strange' in registry.installed(), 'strange_tasks' in sys.modules, 'torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["True", "False", "False"]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("strang", r"'strang' is not installed; installed: .*strange.*did you mean 'strange'\?"),
        ("gone", r"'gone' cannot be imported from strange_nowhere:Task: ModuleNotFoundError: .*reinstall it"),
        ("misnamed", r"'misnamed' cannot be imported from strange_tasks:Missing"),
        ("exploding", r"'exploding' cannot be imported from strange_bomb:Task: ZeroDivisionError"),
        ("noclass", r"'noclass' \(strange_tasks:NotATask\) is not a subclass"),
    ],
)
@pytest.mark.usefixtures("site")
def test_a_task_that_cannot_be_used_is_one_sentence(name: str, why: str) -> None:
    """Unknown, gone, misnamed or not a task: which, why, and what there is instead."""
    with pytest.raises(TaskError, match=why):
        registry.task_class(name)


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"treshold": 1.0}, "config key 'treshold': .*known keys: threshold"),
        ({"threshold": "high"}, "config key 'threshold': .*valid number"),
    ],
)
@pytest.mark.usefixtures("site")
def test_a_wrong_configuration_names_key_and_rule(config: dict[str, object], why: str) -> None:
    """The operator sees the key, the rule and the known keys."""
    with pytest.raises(TaskError, match=why):
        registry.create("strange", config)
