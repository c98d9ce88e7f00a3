"""Settings by Optuna, kept, gone on with, cut short; settings that are handed on; few weights that are tuned."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lineside_plugins.learning.encoder import Encoder
from lineside_plugins.learning.normaliser import Normaliser
from lineside_plugins.tasks.condition.config import ConditionConfig, Head
from lineside_plugins.tasks.condition.scorers import Constant, Scorer
from lineside_workers.commands import finetune
from lineside_workers.commands.parsing import add_window, window_config, window_options
from lineside_workers.condition import tuning
from lineside_workers.condition.candidates import Bench, Candidate, Range
from lineside_workers.condition.heads import Costs
from lineside_workers.condition.heads.classification import Classification
from lineside_workers.condition.pretraining import Pretrained
from lineside_workers.condition.run import Recipe
from lineside_workers.condition.windows import Rows
from lineside_workers.errors import SettingsError
from lineside_workers.learning import low_rank
from lineside_workers.recorded.splitting import Split


@pytest.fixture
def bench() -> Bench:
    """Labelled rows of noise: what is searched here is a toy."""
    rng = np.random.default_rng(0)
    label = np.arange(40) % 2
    names = np.full(40, "M1")
    rows = Rows(
        rng.standard_normal((40, 32)), np.arange(40), names, names, label, np.zeros((40, 4)), np.full(40, np.nan),
        np.zeros((40, 0)),
    )  # fmt: skip
    task = ConditionConfig()
    encoder = Encoder(64, (4,), 2)
    own = Pretrained(encoder, Normaliser.fit(rows.x), task, Recipe(), Split(("a",), ("b",), ("c",)))
    return Bench(Classification(task, rows, Costs()), own, rows, rows, 0, "cpu")


def toy(seen: list[float], losses: Callable[[float], float] = lambda x: x) -> Candidate:
    """Its error is its setting x, which it shows for twelve epochs on its way."""

    def learn(_bench: Bench, settings: Any, watch: Callable[[int, float], None]) -> Scorer:
        seen.append(settings["x"])
        for epoch in range(12):
            watch(epoch, losses(settings["x"]))
        return Constant(np.array([settings["x"]]))

    return Candidate(learn, {"x": Range(2.0, 1.0, 100.0)})


def error(scorer: Scorer) -> float:
    assert isinstance(scorer, Constant)
    return float(scorer.values[0])


def test_the_usual_settings_come_first_and_a_search_goes_on(bench: Bench, tmp_path: Path) -> None:
    """Asked again for more, it tries what is missing; the result is never worse than the usual settings."""
    pytest.importorskip("optuna", reason="pip install 'lineside[tuning]'")
    seen: list[float] = []
    said: list[str] = []
    first = tuning.Search(tmp_path, 4, 0, said.append).best("toy", toy(seen), bench, error)
    assert seen[0] == 2.0
    assert first["x"] == min(seen) <= 2.0
    again = tuning.Search(tmp_path, 6, 0, said.append).best("toy", toy(seen), bench, error)
    assert again["x"] == min(seen)
    assert len(seen) == 6
    assert "6 trials, 4 of them from before" in said[1]


def test_what_is_worse_than_most_is_cut_short(bench: Bench, tmp_path: Path) -> None:
    """Trials whose loss lies above the median of those before do not run to their end."""
    pytest.importorskip("optuna", reason="pip install 'lineside[tuning]'")
    said: list[str] = []
    tuning.Search(tmp_path, 12, 0, said.append).best("toy", toy([]), bench, error)
    assert int(said[0].split(" cut short")[0].rsplit(" ", 1)[1]) >= 1


def test_another_question_is_another_search(bench: Bench, tmp_path: Path) -> None:
    """Labels that changed begin anew: what was found for others does not count."""
    pytest.importorskip("optuna", reason="pip install 'lineside[tuning]'")
    seen: list[float] = []
    tuning.Search(tmp_path, 2, 0, str).best("toy", toy(seen), bench, error)
    bench.fit.label[0] = 1
    tuning.Search(tmp_path, 2, 0, str).best("toy", toy(seen), bench, error)
    assert len(seen) == 4


def test_without_optuna_the_usual_settings_are_taken_unless_trials_are_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Asked for, the missing package and the way to it are named."""
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert tuning.trials(None) == 0
    assert tuning.trials(0) == 0
    with pytest.raises(SettingsError, match=r"--trials 5 needs Optuna.*pip install 'lineside\[tuning\]'"):
        tuning.trials(5)


def test_options_of_a_trained_task_give_the_same_task() -> None:
    """What retraining hands on, tags with units, window and head, is read as it was meant, below zero as well."""
    task = ConditionConfig(
        tags={"Flow": "l/min", "Level": ""}, length=12, period_s=60, head=Head.QUANTILES, unit="l",
        quantiles=(0.1, 0.5, 0.9), alarm_below=-2.5,
    )  # fmt: skip
    parser = argparse.ArgumentParser()
    add_window(parser)
    finetune.add_head(parser)
    parser.add_argument("--spread", action="store_true")
    parser.add_argument("--miss-cost")
    parser.add_argument("--alarm-cost")
    model = {"costs": {"miss": 3.0, "alarm": 1.0}, "spread": True}
    given = parser.parse_args([*window_options(task), *finetune.asked_again(task, model)])
    assert finetune.task_of(given, window_config(given)) == task
    assert given.spread


def test_low_rank_learns_little_and_is_gone_when_it_is_merged() -> None:
    """Only the corrections may change; merged, a plain network says the same."""
    torch.manual_seed(0)
    encoder, rows = Encoder(8, (6,), 4, dropout=0.0), torch.randn(16, 8)
    names, before = list(encoder.state_dict()), encoder(rows)
    low_rank.adapt(encoder, 2)
    assert torch.equal(encoder(rows), before)
    assert {n.rsplit(".", 1)[1] for n, p in encoder.named_parameters() if p.requires_grad} == {"down", "up"}
    optimiser = torch.optim.SGD([p for p in encoder.parameters() if p.requires_grad], lr=0.1)
    encoder(rows).square().mean().backward()
    optimiser.step()
    corrected = encoder(rows)
    assert not torch.allclose(corrected, before, atol=1e-4)
    low_rank.merge(encoder)
    assert torch.allclose(encoder(rows), corrected, atol=1e-6)
    assert list(encoder.state_dict()) == names
