"""Training pieces on made-up recordings: blends, students, ONNX without torch, calibration, reasons, pretraining."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.ensemble import ExtraTreesRegressor

from lineside_plugins.learning.blend import Blend
from lineside_plugins.learning.encoder import embed, pretext_loss
from lineside_plugins.learning.network import Mlp, Schedule
from lineside_plugins.learning.normaliser import Normaliser
from lineside_plugins.learning.onnx_model import OnnxModel
from lineside_workers.learning import calibration, explanation, spreading
from lineside_workers.learning.calibration import Bounds, LevelBand
from lineside_workers.learning.encoders import PretrainRecipe, Unlabelled, pretrain
from lineside_workers.learning.export import exported
from lineside_workers.learning.heads import BlendRecipe, Table, distil, fit_blend, fit_folds
from lineside_workers.learning.quantile_forest import QuantileForest, pooled

RECIPE = BlendRecipe(
    (0.0, 10.0), iterations=60, networks=2, hidden=(16, 8), dropout=0.0, schedule=Schedule(20, 128, 1e-2, patience=20)
)


def _table(seed: int) -> Table:
    """A target between 0 and 10 that two of six features make."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(1500, 6)).astype(np.float32)
    target = np.clip(5 + 2 * rows[:, 0] + 2 * rows[:, 1] + rng.normal(0, 0.3, 1500), 0, 10)
    return Table(rows, target)


@pytest.fixture(scope="module")
def blend() -> Blend:
    return fit_blend(_table(0), _table(1), RECIPE, seed=0)


def _with_gaps(seed: int) -> Table:
    table = _table(seed)
    rows = table.rows.copy()
    rows[np.random.default_rng(seed).random(rows.shape) < 0.1] = np.nan
    return Table(rows, table.target)


def _error(said: np.ndarray, table: Table) -> float:
    return float(np.sqrt(np.mean((said - table.target) ** 2)))


def test_a_blend_is_better_than_either_half(blend: Blend) -> None:
    """Trees and networks err differently, so their mean errs less than each."""
    table = _table(2)
    trees = np.clip(blend.trees.margin(table.rows), 0, 10)
    networks = np.clip(blend.by_networks(table.rows), 0, 10)
    assert _error(blend(table.rows), table) < _error(trees, table)
    assert _error(blend(table.rows), table) < max(_error(trees, table), _error(networks, table))
    assert _error(blend(table.rows), table) < 0.6


def test_a_blend_survives_storage(blend: Blend) -> None:
    """What is stored in half precision and read back says the same to a thousandth of its range."""
    again = Blend.from_tensors(blend.to_tensors(), RECIPE.hidden, "cpu")
    rows = _table(3).rows
    np.testing.assert_allclose(again(rows), blend(rows), atol=0.01)


def test_networks_read_marks_only_where_something_was_missing(blend: Blend) -> None:
    """Trained without gaps a network reads features alone and takes a gap for the mean; with gaps, a mark for each."""
    assert {network.inputs for network in blend.networks} == {6}
    rows = _table(3).rows.copy()
    rows[:, 2] = np.nan
    filled = np.where(np.isnan(rows), blend.normaliser.mean, rows)
    np.testing.assert_allclose(blend.by_networks(rows), blend.by_networks(filled), atol=1e-5)
    gappy = fit_blend(_with_gaps(0), _with_gaps(1), replace(RECIPE, networks=1, iterations=5), seed=0)
    assert gappy.networks[0].inputs == 12
    again = Blend.from_tensors(gappy.to_tensors(), RECIPE.hidden, "cpu")
    np.testing.assert_allclose(again(rows), gappy(rows), atol=0.01)


def test_members_speak_of_rows_they_never_saw() -> None:
    """A member errs more on the fold it was trained without than the others do; their mean is one model."""
    rng = np.random.default_rng(11)
    unit = np.arange(40)
    rows = np.repeat(rng.normal(size=(40, 6)), 15, axis=0).astype(np.float32)
    table = Table(rows, np.repeat(rng.uniform(2, 8, 40), 15))  # each unit has a level of its own that rows give away
    fold = np.repeat(unit % 2, 15)
    recipe = replace(RECIPE, networks=1, schedule=Schedule(30, 64, 1e-2, patience=30))
    members = fit_folds(table, fold, recipe, seed=0)
    for k, member in enumerate(members):
        own = table.part(fold == k)
        assert _error(member(own.rows), own) > 1.2 * _error(members[1 - k](own.rows), own)
    joined = Blend.mean_of(members)
    np.testing.assert_allclose(joined(rows), np.mean([m(rows) for m in members], axis=0), atol=1e-5)


def _file(network: Mlp, blend: Blend, *, int8: bool) -> bytes:
    return exported(network, blend.normaliser, np.array([10.0]), np.array([0.0]), (0.0, 10.0), int8=int8)


@pytest.mark.parametrize("made", [_table, _with_gaps])
def test_a_student_in_int8_is_small_and_close(blend: Blend, made: Callable[[int], Table]) -> None:
    """Distilled and in int8 a blend is far smaller, and its file agrees with torch, whether it reads marks or not."""
    student = distil(blend, made(0), made(1), RECIPE, seed=1)
    whole, small = (_file(student, blend, int8=int8) for int8 in (False, True))
    table = _table(4)
    rows = table.rows.copy()
    rows[0, 2] = np.nan
    own = Blend(blend.trees, (student,), blend.normaliser, 0.0, 10.0).by_networks(rows)
    np.testing.assert_allclose(OnnxModel(whole)(rows)[:, 0], np.clip(own, 0, 10), atol=1e-4)
    assert _error(OnnxModel(small)(table.rows)[:, 0], table) < 1.2 * _error(blend(table.rows), table)
    assert len(small) < 0.25 * sum(t.nbytes for t in blend.to_tensors().values())


def test_an_onnx_model_needs_neither_torch_nor_scikit_learn(blend: Blend, tmp_path: Path) -> None:
    """A process that cannot import torch, scikit-learn or onnx loads the file and answers within the bounds."""
    path = tmp_path / "model.onnx"
    path.write_bytes(_file(blend.networks[0], blend, int8=True))
    program = (
        "import sys; sys.modules.update(dict.fromkeys(['torch', 'sklearn', 'onnx', 'scipy']))\n"
        "import numpy as np; from pathlib import Path\n"
        "from lineside_plugins.learning.onnx_model import OnnxModel\n"
        "print(OnnxModel(Path(sys.argv[1]))(np.zeros((2, 6), np.float32)).tolist())"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = np.asarray(eval(done.stdout))  # noqa: S307  our own process's list of numbers
    assert said.shape == (2, 1)
    assert np.all((said >= 0) & (said <= 10))


def test_intervals_hold_per_group_where_noise_differs() -> None:
    """A margin per group covers a quiet and a noisy group alike; one margin for both would not."""
    rng = np.random.default_rng(5)
    group = np.repeat(["quiet", "noisy"], 4000)
    noise = rng.normal(0, np.where(group == "quiet", 1.0, 5.0))
    centre, unit = np.zeros(8000), np.arange(8000) // 20
    margin = calibration.margins(Bounds(centre, centre), noise, group, calibration.alike(unit), 0.9)
    fresh = rng.normal(0, np.where(group == "quiet", 1.0, 5.0))
    band = Bounds(centre, centre).widened(calibration.of_groups(margin, group), -100, 100)
    for name in ("quiet", "noisy"):
        assert 0.87 < band.covers(fresh)[group == name].mean() < 0.93
    assert margin["noisy"] > 4 * margin["quiet"]


def test_a_band_by_level_is_narrow_where_forecasts_are_good() -> None:
    """Where errors grow with the forecast, a band by level covers as asked at both ends; a constant one cannot."""
    rng = np.random.default_rng(9)
    said = rng.uniform(1, 10, 8000)
    target = said + rng.normal(0, said / 4)
    unit = np.arange(8000) // 20
    band = LevelBand.fit(said[:4000], target[:4000], calibration.alike(unit[:4000]), 0.9, levels=8)
    bounds = band.bounds(said[4000:], -100, 100)
    covered, low = bounds.covers(target[4000:]), said[4000:] < 3
    assert 0.87 < covered.mean() < 0.93
    assert 0.85 < covered[low].mean() < 0.95
    assert (bounds.high - bounds.low)[low].mean() < 0.5 * bounds.width


def test_a_band_at_a_bound_misses_on_the_open_side_alone() -> None:
    """Where half the targets stand at their upper bound, the band's misses all lie below it, which makes it shorter."""
    rng = np.random.default_rng(10)
    said = rng.uniform(8, 9, 6000)
    target = np.minimum(said + rng.normal(1, 2, 6000), 10.0)
    unit = np.arange(6000) // 20
    weight = calibration.alike(unit[:3000])
    band = LevelBand.fit(said[:3000], target[:3000], weight, 0.9, 2, (0.0, 10.0)).bounds(said[3000:], 0.0, 10.0)
    even = LevelBand.fit(said[:3000], target[:3000], weight, 0.9, 2).bounds(said[3000:], 0.0, 10.0)
    assert 0.87 < band.covers(target[3000:]).mean() < 0.93
    assert (band.high == 10.0).all()
    assert band.width < 0.98 * even.width


def test_machines_met_in_mid_life_are_covered_as_asked() -> None:
    """Where errors grow with age, margins from rows as machines in service show them cover records cut at random."""
    rng = np.random.default_rng(12)
    unit, age = np.repeat(np.arange(400), 50), np.tile(np.arange(50), 400)
    target = rng.normal(0, 1 + age / 10)
    first, everyone = unit < 200, np.full(len(unit), "all")
    met = ~first & (age < rng.integers(1, 51, 400)[unit])
    centre = np.zeros(len(unit))
    shares = {}
    for weigh in (calibration.alike, calibration.in_service):
        weight = weigh(unit[first])
        np.testing.assert_allclose(np.bincount(unit[first], weight), 1.0)
        margin = calibration.margins(Bounds(centre[first], centre[first]), target[first], everyone[first], weight, 0.9)
        shares[weigh] = (np.abs(target[met]) <= margin["all"]).mean()
    assert 0.88 < shares[calibration.in_service] < 0.92
    assert shares[calibration.alike] > 0.93


def test_a_followed_margin_keeps_coverage_through_a_shift() -> None:
    """When errors triple, a margin that hears of each miss 20 rows later still covers 80 % over the stream."""
    rng = np.random.default_rng(6)
    score = np.abs(np.concatenate([rng.normal(0, 1, 2000), rng.normal(0, 3, 2000)]))
    margin = calibration.followed(score, start=1.28, coverage=0.8, delay=20, step=0.1)
    assert 0.77 < (score <= margin).mean() < 0.83
    assert 0.75 < (score <= margin)[2000:].mean() < 0.85
    assert (score <= 1.28).mean() < 0.65


def test_named_tags_move_the_forecast_more_than_random_ones(blend: Blend) -> None:
    """Deleting the tags named as the reason moves the output more than deleting as many at random."""
    tags = explanation.tags_of([f"t{i}:last" for i in range(6)])
    rows = _table(7).rows[:200]
    reference = np.zeros(6, dtype=np.float32)
    named, random = explanation.deletion(blend, rows, reference, tags, 2, seed=0)
    assert named.mean() > 1.5 * random.mean()
    strongest = np.abs(explanation.shares(blend, rows, reference, tags)).mean(axis=0)
    assert set(np.argsort(-strongest)[:2]) == {0, 1}


def test_marks_belong_to_no_tag() -> None:
    """A column that names the plant's line is no reason."""
    assert list(explanation.tags_of(["a:last", "b:last", "a:mean5", "line1:mark"])) == ["a", "b"]


def test_pretraining_finds_wear_without_labels() -> None:
    """An encoder asked only for lags and what comes orders moments by a wear it was never told of."""
    rng = np.random.default_rng(8)
    recordings = []
    for _ in range(40):
        wear = np.linspace(0, 1, 60) ** 2
        recordings.append(np.column_stack([wear + rng.normal(0, 0.1, 60), rng.normal(0, 1, (60, 3))]))
    rows = np.concatenate(recordings).astype(np.float32)
    normaliser = Normaliser.fit(rows)
    data = Unlabelled(
        normaliser(rows),
        np.repeat(np.arange(40), 60),
        np.tile(np.arange(60.0), 40),
        np.zeros((len(rows), 1), dtype=np.float32),
    )
    lines: list[str] = []
    recipe = PretrainRecipe((16,), 4, epochs=40, pairs=128, lag=60.0)
    encoder = pretrain(data, recipe, 0, lines.append).encoder
    embedded = embed(encoder, torch.from_numpy(data.rows)).numpy()
    hidden = np.tile(np.linspace(0, 1, 60) ** 2, 40)
    fitted = np.column_stack([embedded, np.ones(len(embedded))])
    explained = fitted @ np.linalg.lstsq(fitted, hidden, rcond=None)[0]
    assert np.corrcoef(explained, hidden)[0, 1] > 0.9
    assert lines
    assert "loss" in lines[0]


def test_what_a_recording_did_not_reach_is_not_asked_for() -> None:
    """NaN in what comes changes neither the loss nor its gradient, and forecasts learn from what is known."""
    age, time = torch.zeros(4, 1), torch.zeros(4)
    ahead = torch.ones(4, 2, requires_grad=True)
    coming = torch.tensor([[1.0, torch.nan], [3.0, torch.nan], [1.0, 1.0], [1.0, torch.nan]])
    loss = pretext_loss(age, ahead, time, coming)
    loss.backward()
    assert loss.item() == pytest.approx(0.5 * 4.0 / 5)
    assert ahead.grad is not None
    np.testing.assert_allclose(ahead.grad.numpy(), [[0, 0], [-0.4, 0], [0, 0], [0, 0]], atol=1e-7)


def test_a_quantile_forest_says_what_came_true_in_its_leaves() -> None:
    """Where half the targets are 0 and half 10, the quartiles are 0 and 10: the mean, 5, never came true."""
    rng = np.random.default_rng(4)
    rows = rng.normal(size=(800, 2)).astype(np.float32)
    target = np.where(rows[:, 0] > 0, rng.choice([0.0, 10.0], 800), 3.0)
    forest = QuantileForest.fit(ExtraTreesRegressor(20, min_samples_leaf=20, random_state=0), rows, target)
    low, high = forest.predict(np.array([[1.0, 0.0], [-1.0, 0.0]], dtype=np.float32), (0.25, 0.75), draws=20, seed=0)
    np.testing.assert_array_equal(low, [0.0, 3.0])
    np.testing.assert_array_equal(high, [10.0, 3.0])


def test_labels_spread_along_a_history_are_better_than_the_forecasts_they_come_from() -> None:
    """Forecasts that err by a fifth agree on an end four rows off at most; a history cut in its youth gets no label."""
    rng = np.random.default_rng(14)
    lengths = np.array([200, 200, 60])
    recording, time = np.repeat(np.arange(3), lengths), np.concatenate([np.arange(n) for n in lengths])
    left = 200.0 - time
    said = np.clip(left * rng.normal(1.0, 0.2, len(left)), 0, 125)
    spread = spreading.along(said, recording, time.astype(np.float64), believed=90.0)
    whole = recording < 2
    near = whole & (said < 90.0)
    assert np.abs(spread[whole] - left[whole]).max() < 4.0
    assert np.abs(spread[near] - left[near]).mean() < np.abs(said[near] - left[near]).mean() / 3
    assert np.isnan(spread[~whole]).all()


def test_pooled_models_forecast_a_level_at_which_the_plant_is() -> None:
    """One model sure of a stop and one that leans to full load agree on the stop, not on half of full load."""
    stops, leans = np.array([[0.0], [0.0], [0.0]]), np.array([[0.0], [100.0], [100.0]])
    assert np.mean([np.median(stops), np.median(leans)]) == 50.0
    np.testing.assert_array_equal(pooled([stops, leans], (0.5,)), [[0.0]])
