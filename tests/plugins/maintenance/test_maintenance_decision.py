import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lineside_plugins.tasks.maintenance import decision, survival
from lineside_plugins.tasks.maintenance.dataset import Life, Machine, Rows

HOUR = 3600.0


def machine(*lives: Life, stops: tuple[float, ...] = ()) -> Machine:
    return Machine("plant", "M1", np.zeros((0, 7), np.float32), np.zeros(0), lives, stops)


def table(lives: list[tuple[Machine, Life]], until_h: np.ndarray, life: np.ndarray) -> Rows:
    failed = np.array([one.failed for _, one in lives])[life]
    none = np.full(len(life), -1)
    return Rows(
        np.zeros((len(life), 1, 1)), until_h, failed, none, none, life, np.full(len(life), "plant"), tuple(lives)
    )


@given(st.lists(st.floats(0.001, 0.6), min_size=survival.INTERVALS, max_size=survival.INTERVALS))
def test_quantiles_and_probabilities_agree(hazards: list[float]) -> None:
    """At the time by which a share has failed, the failure probability is that share."""
    curve = survival.curve(np.array([hazards]))
    for level in (0.05, 0.5, 0.95):
        at = float(survival.quantile(curve, level)[0])
        if at < survival.EDGES_H[-1]:
            assert survival.failure_probability(curve, at)[0] == pytest.approx(level, abs=1e-6)
        else:
            assert at <= survival.RUL_CAP_H


def test_a_censored_life_counts_only_what_it_survived() -> None:
    """A life seen to fail after 20 h marks one event; one last seen at 20 h marks none and nothing after."""
    at_risk, event = survival.targets(np.array([20.0, 20.0]), np.array([True, False]))
    assert event.tolist() == [[0, 0, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0]]
    assert at_risk.tolist() == [[1, 1, 1, 0, 0, 0], [1, 1, 1, 0, 0, 0]]


def test_likelihood_is_best_at_the_true_hazard() -> None:
    """The loss is a proper score: drawn lives are explained best by the hazard they were drawn from."""
    rng = np.random.default_rng(1)
    until = -np.log(rng.random(4000)) * 40
    known = survival.targets(until, np.ones(4000, bool))
    edges = np.array(survival.EDGES_H)
    losses = []
    for mean_h in (20.0, 40.0, 80.0):
        hazard = 1 - np.exp(-np.diff(edges) / mean_h)
        losses.append(survival.negative_log_likelihood(np.tile(hazard, (4000, 1)), *known))
    assert losses[1] == min(losses)


def test_replay_counts_a_failure_that_comes_before_the_next_chance() -> None:
    """A mill asked at hour 8 that stops only at hour 12 fails at hour 10; one that stops at hour 9 is renewed."""
    costs = decision.Costs(repair_h=8.0, planned_h=2.0)
    life = Life(0.0, 10 * HOUR, failed=True, known_start=True, mode="bearing")
    late = machine(life, stops=(0.0, 12 * HOUR))
    early = machine(life, stops=(0.0, 9 * HOUR))
    missed = decision.replay([(late, life)], [8 * HOUR], costs)
    taken = decision.replay([(early, life)], [8 * HOUR], costs)
    assert (missed.failures, missed.renewals, missed.hours) == (1, 0, 10.0)
    assert (taken.failures, taken.renewals, taken.hours) == (0, 1, 9.0)
    assert taken.cost == pytest.approx(2.0 / 9.0)
    assert missed.cost == pytest.approx(decision.UNPLANNED_WEIGHT * 0.8)


def test_first_moment_is_the_first_look_above_the_threshold() -> None:
    """The replay acts at the earliest look of each life that exceeds the threshold, never at a later one."""
    lives = [(machine(), Life(0.0, 5 * HOUR, True, True, "")) for _ in range(2)]
    rows = table(lives, np.array([4.0, 3.0, 2.0, 4.0, 3.0]), np.array([0, 0, 0, 1, 1]))
    moments = decision.first_moments(rows, np.array([0.1, 0.6, 0.9, 0.2, 0.3]), 0.5)
    assert moments == [2 * HOUR, float("inf")]


def test_threshold_is_tuned_to_what_failures_cost() -> None:
    """With a score that warns early and falsely or late and surely, dear repairs ask for the lower threshold."""
    lives, until, life, score = [], [], [], []
    for i in range(40):
        one = Life(0.0, 100 * HOUR, True, True, "")
        lives.append((machine(), one))
        until += [90.0, 40.0, 0.2]
        life += [i] * 3
        score += [0.05, 0.3, 0.8 if i % 2 else 0.31]
    rows = table(lives, np.array(until), np.array(life))
    grid = np.array([0.1, 0.5])
    dear, _ = decision.best_threshold(rows, np.array(score), decision.Costs(30.0, 2.0), grid)
    cheap, _ = decision.best_threshold(rows, np.array(score), decision.Costs(2.0, 2.0), grid)
    assert dear == 0.1
    assert cheap == 0.5


def test_the_horizon_that_tells_tonight_from_tomorrow_decides() -> None:
    """Where a day's score rises in every life long before its end and a near one only then, the near one is chosen."""
    lives = [(machine(), Life(0.0, 100 * HOUR, True, True, "")) for _ in range(20)]
    until = np.tile([60.0, 20.0, 3.0], 20)
    rows = table(lives, until, np.repeat(np.arange(20), 3))
    scores = {24.0: np.tile([0.1, 0.9, 0.9], 20), 6.0: np.tile([0.1, 0.1, 0.9], 20)}
    horizon, threshold, found = decision.best_horizon(rows, scores, decision.Costs(8.0, 2.0), np.array([0.05, 0.5]))
    assert (horizon, threshold) == (6.0, 0.5)
    assert found.hours == pytest.approx(20 * 97.0)


def test_of_thresholds_that_cost_the_same_the_middle_is_taken() -> None:
    """Neither the lowest, which throws life away, nor the highest, which a slightly other plant would punish."""
    lives = [(machine(), Life(0.0, 100 * HOUR, True, True, "")) for _ in range(20)]
    rows = table(lives, np.tile([60.0, 3.0], 20), np.repeat(np.arange(20), 2))
    score = np.tile([0.1, 0.9], 20)
    grid = np.array([0.05, 0.2, 0.4, 0.6, 0.95])
    threshold, _ = decision.best_threshold(rows, score, decision.Costs(8.0, 2.0), grid)
    assert threshold == 0.4


def test_costs_are_read_off_the_recordings() -> None:
    """The price of a repair is the time between failure and the next life, and likewise for planned renewals."""
    lives = (
        Life(0.0, 10 * HOUR, True, False, ""),
        Life(19 * HOUR, 30 * HOUR, False, True, ""),
        Life(33 * HOUR, 40 * HOUR, False, True, ""),
    )
    assert decision.measured_costs([machine(*lives)]) == decision.Costs(9.0, 3.0)
    with pytest.raises(ValueError, match="0 repairs and 0 planned renewals"):
        decision.measured_costs([machine(lives[0])])
