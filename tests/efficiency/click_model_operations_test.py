"""Operations of a click model against a count by hand, from the sizes of its layers."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from mim_tf.efficiency.graph_execution import GraphExecution
from mim_tf.efficiency.operations import count_operations
from mim_tf.interest import UBMS
from mim_tf.ranking import Ranker, RankingNetwork
from mim_tf.representation import EmbeddingTable
from mim_tf.settings import RankSettings

pytestmark = pytest.mark.legacy_keras

ROWS, CANDIDATES, LENGTH, ITEMS, MM_DIM = 64, 8, 20, 500, 64  # no row has padding
SAMPLES = ROWS * CANDIDATES
ID_DIM = 16 + 8  # of the item and its category
DIN_UNITS = (80, 40)


def batch() -> dict[str, tf.Tensor]:
    random = np.random.default_rng(0)
    targets, behaviours = [ROWS, CANDIDATES], [ROWS, LENGTH]
    return {
        "item_id": tf.constant(random.integers(1, ITEMS, targets)),
        "category": tf.constant(random.choice(["shirt", "mug"], targets)),
        "history_item_id": tf.constant(random.integers(1, ITEMS, behaviours)),
        "history_category": tf.constant(random.choice(["shirt", "mug"], behaviours)),
        "timestamp": tf.fill([ROWS], tf.constant(10**6, tf.int64)),
        "history_timestamp": tf.constant(np.sort(random.integers(0, 10**6, behaviours))),
        "label": tf.constant(random.integers(0, 2, targets)),
        "is_shown": tf.ones(targets, tf.bool),
    }


def ranker_of(ubm: str, *, with_content: bool) -> Ranker:
    embeddings = np.random.default_rng(0).normal(size=(ITEMS - 1, MM_DIM)).astype(np.float32)
    table = EmbeddingTable(np.arange(1, ITEMS), embeddings) if with_content else None
    network = RankingNetwork(UBMS[ubm](), with_content, with_content)
    ranker = Ranker(network, table)
    ranker.logits(batch())
    return ranker


def step_of(ranker: Ranker, mode: str) -> Any:
    """The concrete function of a step."""
    from mim_tf.training.rank_fit import compiled

    model = compiled(ranker, RankSettings(batch_size=SAMPLES), steps=1)
    step: Any = ranker.probabilities if mode == "inference" else model.train_step
    return tf.function(lambda features: step(features)).get_concrete_function(batch())


def per_sample(ubm: str, mode: str, *, with_content: bool = False) -> float:
    """What is counted, by the impression."""
    return count_operations(step_of(ranker_of(ubm, with_content=with_content), mode), batch()) / SAMPLES


def tower(width: int) -> int:
    """Multiplications and additions of deepCTR, 128 and 64 wide."""
    return 2 * (width * 128 + 128 * 64 + 64 * 1)


# The base's tower reads the ID interest, its product with the target, and the target.
BASE_TOWER = tower(3 * ID_DIM)
# A mean is computed once for the 8 candidates of a row.
AVERAGE = 2 * LENGTH * ID_DIM / CANDIDATES
# Base+MIM's reads (1), (7) and (8), their products, and the target.
MIM_TOWER = tower(2 * (ID_DIM + MM_DIM + ID_DIM) + ID_DIM)
# The cosines with 20 behaviours, and what they weigh.
COSINES = 2 * LENGTH * MM_DIM
CONTENT_SUM, FUSION_SUM = 2 * LENGTH * MM_DIM, 2 * LENGTH * ID_DIM
# DIN's first layer is regrouped: the target's part once a candidate, the behaviour's once a row, the product's once a
# pair. A pair's two other layers follow; then the weighted sum.
FIRST_LAYER = 2 * ID_DIM * DIN_UNITS[0]
PAIR = FIRST_LAYER + 2 * (DIN_UNITS[0] * DIN_UNITS[1] + DIN_UNITS[1])
DIN_PRODUCTS = FIRST_LAYER + LENGTH * FIRST_LAYER / CANDIDATES + LENGTH * PAIR
DIN_SUM = 2 * LENGTH * ID_DIM
# SIM's soft search, with keys of 16: a query in the behaviours' space, its scores, what they pool. Then four heads of
# attention in the same way, to behaviours with 8 numbers of time; a softmax, at five for each score; their projection.
KEY_DIM, HEADS, WIDTH = 16, 4, ID_DIM + 8
SOFT_SEARCH = 2 * (2 * ID_DIM * KEY_DIM + 2 * LENGTH * ID_DIM)
HEAD = 2 * (ID_DIM * KEY_DIM + KEY_DIM * WIDTH + 2 * LENGTH * WIDTH + WIDTH * ID_DIM) + 5 * LENGTH
# What both find is twice as wide as `h_ID`, and so is its product with the target.
SIM_TOWER = tower(5 * ID_DIM)
# Dice of a pair's units: less the mean, by the deviation, and s (alpha + (1 - alpha) p), p's exponential left out.
DICE = 5 * LENGTH * sum(DIN_UNITS)
# In training mean and variance as well: a sum; a difference, its square, a sum.
DICE_LEARNING = DICE + 4 * LENGTH * sum(DIN_UNITS)


def test_base_with_average_pooling() -> None:
    assert per_sample("average", "inference") == pytest.approx(BASE_TOWER + AVERAGE, rel=0.05)
    # Each product has two gradients, by the weights and by what they are multiplied with, which for the first layer are
    # the ID embeddings, and so are learnt. The mean's weights are no variables: one gradient.
    assert per_sample("average", "training") == pytest.approx(3 * BASE_TOWER + 2 * AVERAGE, rel=0.05)


def test_base_with_din() -> None:
    inference = BASE_TOWER + DIN_PRODUCTS + DIN_SUM + DICE
    assert per_sample("din", "inference") == pytest.approx(inference, rel=0.05)
    training = 3 * (BASE_TOWER + DIN_PRODUCTS + DIN_SUM + DICE_LEARNING)
    assert per_sample("din", "training") == pytest.approx(training, rel=0.05)


def test_base_with_sim() -> None:
    inference = SIM_TOWER + SOFT_SEARCH + HEADS * HEAD
    assert per_sample("sim", "inference") == pytest.approx(inference, rel=0.05)
    assert per_sample("sim", "training") == pytest.approx(3 * inference, rel=0.05)


def test_content_and_fusion_interest() -> None:
    inference = MIM_TOWER + AVERAGE + COSINES + CONTENT_SUM + FUSION_SUM
    assert per_sample("average", "inference", with_content=True) == pytest.approx(inference, rel=0.05)
    # The table is frozen: of (7) and (8) only the ID embeddings get a gradient.
    training = 3 * MIM_TOWER + 2 * AVERAGE + COSINES + CONTENT_SUM + 2 * FUSION_SUM
    assert per_sample("average", "training", with_content=True) == pytest.approx(training, rel=0.05)


def test_din_within_mim() -> None:
    inference = MIM_TOWER + DIN_PRODUCTS + DIN_SUM + DICE + COSINES + CONTENT_SUM + FUSION_SUM
    assert per_sample("din", "inference", with_content=True) == pytest.approx(inference, rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("ubm", sorted(UBMS))
def test_what_is_counted_is_the_step(ubm: str) -> None:
    """Operation by operation the model predicts and learns what it does at once: also by loops and their gradients."""
    features, execution = batch(), GraphExecution(lambda *_: None)
    learnt = []
    for execute in (lambda step: step(features), lambda step: execution.run(step, features)):
        tf.keras.utils.set_random_seed(0)
        ranker = ranker_of(ubm, with_content=True)
        predictions = [*tf.nest.flatten(execute(step_of(ranker, "inference")))]
        execute(step_of(ranker, "training"))
        learnt.append([*predictions, *ranker.network.weights])
    for at_once, one_by_one in zip(*learnt, strict=True):
        np.testing.assert_allclose(one_by_one, at_once, rtol=1e-5, atol=1e-6)
