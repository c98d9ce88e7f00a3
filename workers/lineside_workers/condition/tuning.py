"""Settings of a candidate by Optuna, judged by validation units alone; a search that was interrupted goes on.

<work>/tuning.journal   one study per candidate and question, appended to trial by trial
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lineside_plugins.tasks.condition.scorers import Scorer
from lineside_workers.condition.candidates import Bench, Candidate, Range
from lineside_workers.errors import SettingsError

Say = Callable[[str], None]
JOURNAL = "tuning.journal"
USUAL = 6  # trials of each candidate where Optuna is installed
WARM_UP = 8  # epochs before a trial may be cut short


def trials(asked: int | None) -> int:
    """Trials per candidate: as asked; where nothing is asked a few if Optuna is installed, else none.

    Raises:
        SettingsError: Trials are asked for, and Optuna is not installed.
    """
    installed = find_spec("optuna") is not None
    if asked and not installed:
        raise SettingsError(
            f"--trials {asked} needs Optuna, which is not installed; run: pip install 'lineside[tuning]', or --trials 0"
        )
    if asked is None:
        return USUAL if installed else 0
    return asked


@dataclass(frozen=True, slots=True)
class Search:
    """``trials`` per candidate, the usual settings first, so that a search never ends below them."""

    work: Path
    trials: int
    seed: int
    say: Say

    def best(self, name: str, candidate: Candidate, bench: Bench, error: Callable[[Scorer], float]) -> dict[str, float]:
        """The settings whose candidate has the least error on validation rows; the usual ones without a search."""
        if not self.trials or not candidate.space:
            return candidate.usual
        optuna: Any = import_module("optuna")
        study = self._study(optuna, name, bench)
        if not study.trials:
            study.enqueue_trial(candidate.usual)

        def one(trial: Any) -> float:
            def watch(epoch: int, loss: float) -> None:
                trial.report(loss, epoch)
                if trial.should_prune():
                    raise optuna.TrialPruned

            settings = {key: _drawn(trial, key, r) for key, r in candidate.space.items()}
            return error(candidate.learn(bench, settings, watch))

        done = [t for t in study.trials if t.state.is_finished() and t.state.name != "FAIL"]
        study.optimize(one, n_trials=max(0, self.trials - len(done)))
        cut = sum(t.state.name == "PRUNED" for t in study.trials)
        again = f", {len(done)} of them from before" if done else ""
        self.say(f"{name}: {self.trials} trials{again}, {cut} cut short, best {study.best_value:.4f}")
        return {**candidate.usual, **study.best_params}

    def _study(self, optuna: Any, name: str, bench: Bench) -> Any:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.work.mkdir(parents=True, exist_ok=True)
        journal = import_module("optuna.storages.journal")
        return optuna.create_study(
            study_name=f"{bench.problem.task.head}-{name}-{_identity(bench, self.seed)}",
            storage=optuna.storages.JournalStorage(journal.JournalFileBackend(str(self.work / JOURNAL))),
            sampler=optuna.samplers.TPESampler(seed=self.seed, n_startup_trials=max(3, self.trials // 3)),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=2, n_warmup_steps=WARM_UP),
            load_if_exists=True,
        )


def _drawn(trial: Any, name: str, within: Range) -> float:
    if isinstance(within.usual, int):
        return int(trial.suggest_int(name, round(within.low), round(within.high), log=True))
    return float(trial.suggest_float(name, within.low, within.high, log=True))


def _identity(bench: Bench, seed: int) -> str:
    """The same for the same rows, labels, question, encoder and seed: only then may a search go on."""
    found = hashlib.sha256(f"{bench.problem.task.model_dump_json()} {bench.problem.costs} {seed}".encode())
    for rows in (bench.fit, bench.stop):
        for array in (rows.x, rows.label, rows.value, rows.later):
            found.update(array.tobytes())
    for value in bench.pretrained.encoder.state_dict().values():
        found.update(value.numpy().tobytes())
    return found.hexdigest()[:12]
