"""Runs all arms of all replications over a pool of processes. Models are loaded once per process."""

from __future__ import annotations

import multiprocessing as mp
import queue
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from lineside_trials.arms import KPIS, Arm, Replication, run_rule_arm
from lineside_trials.lineside_arm import Advisers, load_advisers, run_lineside_arm
from lineside_trials.over_opcua import run_over_opcua
from lineside_trials.summary import Outcome


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
    context = mp.get_context("spawn")
    hours: mp.Queue[float] = context.Queue()
    setup = (campaign.settings, hours)
    with (
        ProcessPoolExecutor(campaign.jobs, mp_context=context, initializer=_initialise, initargs=setup) as pool,
        _progress(console, sum(r.horizon_h for r in campaign.replications) * len(Arm)) as advance,
    ):
        # Lineside first: it takes longest, and the short arms then fill the gaps.
        jobs: dict[tuple[int, Arm], Future[dict[str, float]]] = {}
        for arm in (Arm.LINESIDE, Arm.BASELINE, Arm.FAMILY_FIRST, Arm.ORACLE):
            for i, replication in enumerate(campaign.replications):
                jobs[i, arm] = pool.submit(_one, arm, replication, campaign.through_opcua)
        waiting = set(jobs.values())
        while waiting:
            try:
                advance(hours.get(timeout=0.5))
            except queue.Empty:
                waiting = {job for job in waiting if not job.done()}
                for job in set(jobs.values()) - waiting:
                    if job.exception() is not None:
                        pool.shutdown(cancel_futures=True)
                        job.result()
        return [{arm: jobs[i, arm].result() for arm in Arm} for i in range(len(campaign.replications))]


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


def _one(arm: Arm, replication: Replication, through_opcua: bool) -> dict[str, float]:
    assert _advisers is not None and _hours is not None  # noqa: S101, PT018 - set by the initializer
    hours = _hours
    if arm is not Arm.LINESIDE:
        kpis = run_rule_arm(arm, replication)
        hours.put(replication.horizon_h)
        return kpis
    told = [0.0]

    def progress(at_s: float) -> None:
        hours.put(at_s / 3600.0 - told[0])
        told[0] = at_s / 3600.0

    if through_opcua:
        kpis = run_over_opcua(replication, _advisers, progress)
    else:
        kpis = run_lineside_arm(replication, _advisers, progress)
    hours.put(replication.horizon_h - told[0])
    return {k: kpis[k] for k in KPIS}
