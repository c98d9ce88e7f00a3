"""The configuration that a version was trained for: its head, tags and window, where its task lets users set them."""

from __future__ import annotations

from collections.abc import Mapping

from lineside_plugins.tasks.condition.config import ConditionConfig
from lineside_plugins.types import ModelData
from lineside_workers.errors import ModelError
from lineside_workers.models.store import ModelStore
from lineside_workers.models.versions import Versions


def configuration(model: ModelData) -> dict[str, object]:
    """What differs from the task's defaults; {} for a task that is always asked the same."""
    stored = model.config.get("task")
    if not isinstance(stored, dict):
        return {}
    return ConditionConfig.from_stored(stored).model_dump(mode="json", exclude_defaults=True)


def in_use(task: str, store: ModelStore) -> Mapping[str, object]:
    """That of the version in full, or of one in canary or shadow; {} where there is none, which loading will tell."""
    folders = []
    try:
        folders = [store.folder(task)]
    except ModelError:
        if store.root is not None:
            versions = Versions(store, task)
            rollout = versions.rollout()
            folders = [versions.folder(name) for name in (rollout.canary, *rollout.shadow) if name]
    try:
        return configuration(store.load(folders[0])) if folders else {}
    except (ModelError, OSError):
        return {}
