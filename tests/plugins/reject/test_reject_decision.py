import math

import numpy as np
import pytest

from lineside_plugins.tasks.reject import decision
from lineside_plugins.tasks.reject.dataset import Parts
from lineside_plugins.tasks.reject.heads import Calibration, outside_score


def parts(bad: np.ndarray, step_s: float = 60.0) -> Parts:
    n = len(bad)
    return Parts(
        np.zeros((n, 1)),
        np.zeros(n),
        np.zeros(n),
        bad,
        np.full(n, "plant"),
        np.ones(n),
        np.arange(n) * step_s,
        np.arange(n) + 1.0,
    )


def test_flags_in_a_burst_cost_good_parts_and_the_same_flags_spread_out_do_not() -> None:
    """The bench can check one part in twenty; forty flags in a row leave most of them unchecked."""
    bad = np.zeros(4000, bool)
    burst, spread = np.zeros(4000), np.zeros(4000)
    burst[1000:1040] = 1.0
    spread[::100] = 1.0
    nothing = parts(bad), np.zeros(4000)
    at = decision.Thresholds(0.5, 0.5)
    lost = decision.replay(parts(bad), burst, *nothing, at).scrapped_good
    none = decision.replay(parts(bad), spread, *nothing, at).scrapped_good
    assert lost * 4000 > 20
    assert none == 0


def test_porosity_gets_what_the_dimension_flags_leave_of_the_budget() -> None:
    """The more parts a mill is suspected of, the fewer the press may flag; both together keep to the budget."""
    rng = np.random.default_rng(0)
    bad = rng.random(5_000) < 0.01
    p_porosity = np.clip(0.5 * bad + rng.exponential(0.02, 5_000), 0, 1)
    found = []
    for share in (0.0, 0.1):
        suspects = np.where(np.arange(5_000) % 100 < 100 * share, 0.2, 0.0)
        at = decision.fit_thresholds(parts(bad), suspects, parts(bad), p_porosity)
        assert decision.replay(parts(bad), suspects, parts(bad), p_porosity, at).flagged <= decision.FLAGGED_BUDGET
        found.append(at.porosity)
    assert found[0] < found[1]


def test_the_dearer_an_escape_the_sooner_a_part_is_worth_scrapping_unseen() -> None:
    """If an escape costs ten good parts, a part that is bad with one in eleven is worth a good one."""
    assert decision.worth_scrapping(10.0) == pytest.approx(1 / 11)
    p = np.array([0.05, 0.2, 0.6])
    cheap, dear = (decision.Thresholds(0.9, 0.9, sure=decision.worth_scrapping(cost)) for cost in (1.0, 20.0))
    assert cheap.flags_dimension(p, np.ones(3)).tolist() == [False, False, True]
    assert dear.flags_dimension(p, np.ones(3)).tolist() == [True, True, True]


def test_parts_worth_scrapping_unseen_are_flagged_beyond_the_budget() -> None:
    """A plant that makes more bad parts than the bench can check still flags those that are surely bad."""
    bad = np.arange(1000) % 10 == 0
    at = decision.fit_thresholds(parts(bad), np.zeros(1000), parts(bad), np.where(bad, 0.9, 0.01))
    assert at.porosity == decision.SURE
    assert decision.replay(parts(bad), np.zeros(1000), parts(bad), np.where(bad, 0.9, 0.01), at).flagged == 0.1


def test_outside_score_is_the_tail_of_the_normal() -> None:
    """A part expected two spreads inside the limit is outside with the tail's 2.3 %."""
    score = outside_score(np.array([15.0, 0.0]), np.array([5.0, 5.0]), 25.0)
    p = 1 / (1 + np.exp(-score))
    assert p[0] == pytest.approx(0.5 * math.erfc(2 / math.sqrt(2)), rel=1e-3)
    assert p[1] == pytest.approx(math.erfc(5 / math.sqrt(2)), rel=1e-2)


def test_calibration_is_monotone_and_neutral_at_the_identity() -> None:
    """Slope one and intercept zero turn log-odds into probabilities; order is kept in any case."""
    score = np.linspace(-8, 8, 9)
    np.testing.assert_allclose(Calibration(1.0, 0.0)(score), 1 / (1 + np.exp(-score)))
    assert (np.diff(Calibration(0.5, -2.0)(score)) > 0).all()


def test_of_suspect_parts_only_every_nth_is_flagged_and_of_sure_ones_all() -> None:
    """A burst of suspects is sampled so that the bench keeps up; a part worth scrapping unseen never slips through."""
    at = decision.Thresholds(0.05, 0.5, every=4)
    count = np.arange(1.0, 9.0)
    assert at.flags_dimension(np.full(8, 0.1), count).tolist() == [c % 4 == 0 for c in range(1, 9)]
    assert at.flags_dimension(np.full(8, 0.9), count).all()
    assert not at.flags_dimension(np.full(8, 0.01), count).any()
