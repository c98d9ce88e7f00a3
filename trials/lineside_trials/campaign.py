"""Runs all arms of all replications over a pool of processes, the Lineside arms of several in step in one process."""

from __future__ import annotations

import gc
import multiprocessing as mp
import os
import queue
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from lineside_trials.arms import KPIS, Arm, Replication, run_rule_arm
from lineside_trials.lineside_arm import Advisers, load_advisers, run_lineside_arm
from lineside_trials.over_opcua import run_over_opcua
from lineside_trials.summary import Outcome

MOST_TOGETHER = 8  # plants in one process: a task's cost per plant falls by a quarter from 4 to 8, and hardly after


@dataclass(frozen=True, slots=True)
class Campaign:
    """What to run: paired replications, the settings whose tasks advise, processes, and how the plant is reached."""

    replications: tuple[Replication, ...]
    settings: Path | None = None
    jobs: int = 1
    through_opcua: bool = False


_advisers: Advisers | None = None
_hours: mp.Queue[float] | None = None


def run(campaign: Campaign, console: Console) -> list[Outcome]:
    """KPIs of every arm, in the order of the replications; a progress bar counts plant hours.

    Raises:
        LinesideError, TaskError, WorkerError: A task, its model or the settings cannot be used.
    """
    load_advisers(campaign.settings)  # what is wrong with tasks or models is said before anything runs
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the processes are the parallelism; read as they import torch
    context = mp.get_context("spawn")
    hours: mp.Queue[float] = context.Queue()
    setup = (campaign.settings, hours)
    with (
        ProcessPoolExecutor(campaign.jobs, mp_context=context, initializer=_initialise, initargs=setup) as pool,
        _progress(console, sum(r.horizon_h for r in campaign.replications) * len(Arm)) as advance,
    ):
        work = plan(campaign)
        jobs = [pool.submit(_one, part, campaign.through_opcua) for part in work]
        waiting = set(jobs)
        while waiting:
            try:
                advance(hours.get(timeout=0.5))
            except queue.Empty:
                waiting = {job for job in waiting if not job.done()}
                for job in set(jobs) - waiting:
                    if job.exception() is not None:
                        pool.shutdown(cancel_futures=True)
                        job.result()
        found = {(part.arm, i): k for part, job in zip(work, jobs, strict=True)
                 for i, k in zip(part.places, job.result(), strict=True)}  # fmt: skip
        return [{arm: found[arm, i] for arm in Arm} for i in range(len(campaign.replications))]


@dataclass(frozen=True, slots=True)
class Part:
    """What one process does at a time: one arm of some replications, and their places in the campaign."""

    arm: Arm
    replications: tuple[Replication, ...]
    places: tuple[int, ...]


def plan(campaign: Campaign) -> list[Part]:
    """The parts of a campaign, longest first, so that the short ones fill the gaps at the end.

    The Lineside arms are dealt out evenly over the processes, at most ``MOST_TOGETHER`` to a part; over OPC UA each
    has a plant process of its own and is a part of its own.
    """
    count = len(campaign.replications)
    together = 1 if campaign.through_opcua else MOST_TOGETHER
    parts = min(count, campaign.jobs * -(-count // (campaign.jobs * together)))
    out = [_part(campaign, Arm.LINESIDE, range(p, count, parts)) for p in range(parts)]
    rules = (Arm.BASELINE, Arm.FAMILY_FIRST, Arm.ORACLE)
    return out + [_part(campaign, arm, range(i, i + 1)) for arm in rules for i in range(count)]


def _part(campaign: Campaign, arm: Arm, places: range) -> Part:
    return Part(arm, tuple(campaign.replications[i] for i in places), tuple(places))


@contextmanager
def _progress(console: Console, total: float) -> Iterator[Callable[[float], None]]:
    """A bar in a terminal, a line at every tenth elsewhere; call what is yielded with the hours that have passed."""
    done = 0.0
    if not console.is_terminal:

        def say(hours: float) -> None:
            nonlocal done
            before, done = done, done + hours
            if int(10 * done / total) > int(10 * before / total):
                console.print(f"{done:.0f} of {total:.0f} plant hours", highlight=False)

        yield say
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:.0f}/{task.total:.0f} h"),
               TimeElapsedColumn(), TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("plant hours", total=total)
        yield lambda hours: bar.advance(task, hours)


def _initialise(settings: Path | None, hours: mp.Queue[float]) -> None:
    """Load tasks and models once per process."""
    global _advisers, _hours
    _advisers, _hours = load_advisers(settings), hours
    gc.freeze()  # torch and the models stay; looking through them again and again costs two percent


def _one(part: Part, through_opcua: bool) -> list[dict[str, float]]:
    """KPIs of each replication of ``part``."""
    assert _advisers is not None and _hours is not None  # noqa: S101, PT018 - set by the initializer
    hours, count = _hours, len(part.replications)
    told = [0.0]

    def progress(at_s: float) -> None:
        hours.put(count * (at_s / 3600.0 - told[0]))
        told[0] = at_s / 3600.0

    if part.arm is not Arm.LINESIDE:
        found = [run_rule_arm(part.arm, r) for r in part.replications]
    elif through_opcua:
        found = [run_over_opcua(r, _advisers, progress) for r in part.replications]
    else:
        found = run_lineside_arm(part.replications, _advisers, progress)
    hours.put(count * (part.replications[0].horizon_h - told[0]))
    return [{name: kpis[name] for name in KPIS} for kpis in found]
