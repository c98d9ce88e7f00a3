from dataclasses import replace

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from lineside_plugins.learning import packed_trees
from lineside_plugins.learning.trees import TreeEnsemble, seen_columns, sigmoid


def rows(seed: int, n: int = 800) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 5)).astype(np.float32)
    score = x[:, 0] + x[:, 1] * x[:, 2] + 0.2 * rng.normal(size=n)
    x[rng.random(x.shape) < 0.1] = np.nan
    return x, score


@pytest.fixture(scope="module")
def classifier() -> HistGradientBoostingClassifier:
    x, score = rows(1)
    return HistGradientBoostingClassifier(max_iter=25, max_depth=4, random_state=0).fit(x, score > 0.3)


def test_flat_classifier_gives_the_probabilities_of_scikit_learn(classifier: HistGradientBoostingClassifier) -> None:
    """The flat arrays give scikit-learn's probabilities to rounding error, missing values included."""
    x, _ = rows(2)
    flat = TreeEnsemble.from_gradient_boosting(classifier)
    np.testing.assert_allclose(sigmoid(flat.margin(x)), classifier.predict_proba(x)[:, 1], rtol=0, atol=1e-9)


def test_flat_regressor_gives_the_predictions_of_scikit_learn() -> None:
    """A regressor's trees, stored and loaded, give scikit-learn's predictions to rounding error."""
    x, score = rows(3)
    model = HistGradientBoostingRegressor(max_iter=20, max_leaf_nodes=9, random_state=0).fit(x, score)
    flat = TreeEnsemble.from_tensors(TreeEnsemble.from_gradient_boosting(model).to_tensors("t."), "t.")
    np.testing.assert_allclose(flat.margin(x), model.predict(x), rtol=0, atol=1e-9)


def test_packed_trees_send_every_row_the_same_way() -> None:
    """Packed, trees take a third of the bytes, and float32 rows, those on a threshold too, reach the same leaves."""
    x, score = rows(3)
    model = HistGradientBoostingRegressor(max_iter=40, max_leaf_nodes=16, random_state=0).fit(x, score)
    flat = TreeEnsemble.from_gradient_boosting(model)
    packed = packed_trees.pack(flat, "t.")
    again = packed_trees.unpack(packed, "t.")
    leaf = flat.left == flat.right
    on_threshold = np.repeat(flat.threshold[~leaf].astype(np.float32)[:, None], 5, axis=1)
    for asked in (x, on_threshold):
        np.testing.assert_allclose(again.margin(asked), flat.margin(asked), rtol=0, atol=1e-5)
    shares = [each.explain(x)[1] for each in (flat, again)]
    np.testing.assert_allclose(*shares, atol=0.01)
    assert sum(t.nbytes for t in packed.values()) < 0.4 * sum(t.nbytes for t in flat.to_tensors("t.").values())


def test_trees_too_large_for_sixteen_bits_are_not_packed() -> None:
    """More features than 16 bits count are refused with what to do instead."""
    x, score = rows(3)
    flat = TreeEnsemble.from_gradient_boosting(HistGradientBoostingRegressor(max_iter=2, random_state=0).fit(x, score))
    with pytest.raises(ValueError, match="to_tensors"):
        packed_trees.pack(replace(flat, feature=flat.feature + 40_000))


def test_contributions_add_up_to_the_score(classifier: HistGradientBoostingClassifier) -> None:
    """The shares of all features, the base and the root means add up to each row's score."""
    x, _ = rows(4)
    flat = TreeEnsemble.from_gradient_boosting(classifier)
    score, shares = flat.explain(x)
    roots = flat.value[flat.roots].sum()
    np.testing.assert_allclose(flat.base[0] + roots + shares.sum(axis=1), score, atol=1e-9)
    np.testing.assert_allclose(score, flat.margin(x), atol=1e-12)


def test_a_feature_no_tree_asks_for_explains_nothing() -> None:
    """A constant feature gets exactly zero of every score, the informative one most of them."""
    x, score = rows(5)
    x[:, 4] = 7.0
    model = HistGradientBoostingClassifier(max_iter=25, random_state=0).fit(x, score > 0.3)
    _, shares = TreeEnsemble.from_gradient_boosting(model).explain(x)
    assert np.all(shares[:, 4] == 0)
    assert np.abs(shares[:, 0]).mean() > np.abs(shares[:, 3]).mean()


def test_multiclass_model_is_refused() -> None:
    """A model with several trees per iteration is refused with what to do instead."""
    x, score = rows(6, 300)
    model = HistGradientBoostingClassifier(max_iter=3, random_state=0).fit(x, np.digitize(score, [-0.5, 0.5]))
    with pytest.raises(ValueError, match="expected 1: use a binary model"):
        TreeEnsemble.from_gradient_boosting(model)


def test_a_feature_missing_everywhere_can_be_trained_with() -> None:
    """A column nobody has seen does not stop training, and the model ignores what stands in it later."""
    x, score = rows(7, 300)
    x[:, 2] = np.nan
    model = HistGradientBoostingRegressor(max_iter=5, random_state=0).fit(seen_columns(x), score)
    flat = TreeEnsemble.from_gradient_boosting(model)
    later = x.copy()
    later[:, 2] = 3.0
    np.testing.assert_array_equal(flat.margin(x), flat.margin(later))


def test_the_first_trees_are_the_model_of_that_iteration() -> None:
    """Cutting an ensemble after ten trees gives what scikit-learn had after ten iterations."""
    x, score = rows(8, 400)
    longer = HistGradientBoostingRegressor(max_iter=15, random_state=0).fit(x, score)
    shorter = HistGradientBoostingRegressor(max_iter=10, random_state=0).fit(x, score)
    flat = TreeEnsemble.from_gradient_boosting(longer).first(10)
    np.testing.assert_allclose(flat.margin(x), shorter.predict(x), atol=1e-9)


def test_one_ensemble_of_several_scores_their_mean() -> None:
    """Members of different depth and length, joined, score the mean of what each scores, and share it out alike."""
    x, score = rows(6)
    members = [
        TreeEnsemble.from_gradient_boosting(
            HistGradientBoostingRegressor(max_iter=n, max_leaf_nodes=leaves, random_state=n).fit(x, score + n)
        )
        for n, leaves in ((5, 4), (9, 12))
    ]
    joined = TreeEnsemble.mean_of(members)
    np.testing.assert_allclose(joined.margin(x), np.mean([m.margin(x) for m in members], axis=0), atol=1e-9)
    np.testing.assert_allclose(joined.explain(x)[1], np.mean([m.explain(x)[1] for m in members], axis=0), atol=1e-9)
