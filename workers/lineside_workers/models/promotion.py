"""What a promotion asks for: that a version was seen beside the one in full before it answers in its place."""

from __future__ import annotations

import shutil
from pathlib import Path

from lineside_workers.errors import RolloutError
from lineside_workers.models.versions import Stage, Versions
from lineside_workers.watching import side_by_side
from lineside_workers.watching.side_by_side import Pair

FOLDER = "beside"


def beside(versions: Versions, version: str) -> Path:
    """Where workers leave how ``version`` compares with the one in full."""
    return versions.home / FOLDER / version


def seen(versions: Versions, version: str) -> dict[str, Pair]:
    """How ``version`` has compared since it came to its stage, by machine; nothing where no worker has asked it."""
    return side_by_side.read(beside(versions, version), versions.rollout().stage_of(version).value)


def check_seen(versions: Versions, version: str) -> None:
    """Refuse the next stage while workers have shown too little of ``version`` in the one it is in.

    Raises:
        RolloutError: It is in shadow or canary, and was asked about fewer windows than its limits count on.
    """
    rollout = versions.rollout()
    stage, least = rollout.stage_of(version), rollout.limits.min_windows
    if stage not in (Stage.SHADOW, Stage.CANARY):
        return
    windows = side_by_side.total(seen(versions, version).values()).windows
    if windows < least:
        what = f"was asked about {windows} windows" if windows else "has not been asked by any worker"
        raise RolloutError(
            f"{versions.task} {version} {what} in {stage.value}, and {least} are needed to judge it; wait until "
            f"'lineside models show {version}' has them, or give --skip-stages"
        )


def forget(versions: Versions, version: str) -> None:
    """Begin anew: what was seen in an earlier stage says nothing about the next."""
    shutil.rmtree(beside(versions, version), ignore_errors=True)
