"""What stage 3 reports over seeds, and the optimiser that its settings describe."""

import numpy as np
import pytest

pytestmark = pytest.mark.legacy_keras


def scores(*aucs: float) -> list[dict[str, float]]:
    return [{"auc": auc, "grouped_auc": auc, "log_loss": 1 - auc, "calibration_error": 0.1} for auc in aucs]


def test_means_and_intervals_over_seeds() -> None:
    from mim_tf.training.rank import _summary

    summary = _summary(scores(0.71, 0.73, 0.75), scores(0.70, 0.71, 0.72))
    # Gains .01, .02, .03: mean .02, deviation .01, and Student's t for two degrees of freedom is 4.3027.
    half = 4.3027 * 0.01 / np.sqrt(3)
    np.testing.assert_allclose(
        [summary["auc"], summary["auc_base"], summary["auc_gain"]], [0.73, 0.71, 0.02], rtol=1e-6
    )
    np.testing.assert_allclose(
        [summary["auc_gain_lower"], summary["auc_gain_upper"]], [0.02 - half, 0.02 + half], rtol=1e-4
    )
    assert summary["auc_relative_improvement"] == pytest.approx(0.23 / 0.21 - 1)


def test_one_seed_has_no_interval_and_chance_no_relative_improvement() -> None:
    from mim_tf.training.rank import _summary

    summary = _summary(scores(0.6), scores(0.5))
    assert summary["auc_gain"] == pytest.approx(0.1)
    assert not {"auc_lower", "auc_gain_upper", "auc_relative_improvement"} & set(summary)


def test_a_model_without_a_base() -> None:
    from mim_tf.training.rank import _summary

    summary = _summary(scores(0.71, 0.73), [])
    assert summary["auc"] == pytest.approx(0.72)
    assert not [name for name in summary if "base" in name or "gain" in name or "improvement" in name]


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        ("constant", [0.0, 0.05, 0.1, 0.1, 0.1]),
        ("linear", [0.0, 0.05, 0.1, 0.05, 0.0]),
        ("cosine", [0.0, 0.05, 0.1, 0.05, 0.0]),  # (1 + cos(pi / 2)) / 2 half way down
    ],
)
def test_rates_climb_and_fall(schedule: str, rates: list[float]) -> None:
    from mim_tf.settings import RankSettings
    from mim_tf.training.rank_optimizer import rank_optimizer

    options = RankSettings(learning_rate=0.1, schedule=schedule, warmup=0.2, item_epsilon=0.5)
    rate = rank_optimizer(options, 100)._learning_rate
    np.testing.assert_allclose([float(rate(step)) for step in (0, 10, 20, 60, 100)], rates, atol=1e-6)


def test_the_items_table_has_its_epsilon() -> None:
    import tensorflow as tf

    from mim_tf.interest import AveragePooling
    from mim_tf.ranking import RankingNetwork
    from mim_tf.settings import RankSettings
    from mim_tf.training.rank_optimizer import rank_optimizer

    network = RankingNetwork(AveragePooling(), content=False, fusion=False, hash_bins=8)
    row = {"item_id": tf.zeros([1], tf.int64), "category": tf.constant([""])}
    network(row | {"history_item_id": tf.zeros([1, 0], tf.int64), "history_category": tf.zeros([1, 0], tf.string)})
    optimizer = rank_optimizer(RankSettings(item_epsilon=0.5), 10)
    optimizer.build(network.trainable_variables)
    epsilons = [optimizer._epsilon_of(variable) for variable in network.trainable_variables]
    assert [epsilon == 0.5 for epsilon in epsilons].count(True) == 1
    assert epsilons[0] == 0.5
