"""The optimiser of stage 3: Adam by rows, with a rate that climbs and falls."""

from __future__ import annotations

from typing import Any

from official.modeling import optimization
from tensorflow import keras

from mim_tf.ranking.row_sparse_adam import RowSparseAdam
from mim_tf.settings import RankSettings


def rank_optimizer(options: RankSettings, steps: int) -> RowSparseAdam:
    """Adam whose rate climbs to its peak over the warm-up and falls from there as the schedule says.

    Args:
        options: rate, schedule and warm-up.
        steps: of the whole training.
    """
    rate = _learning_rate(options, steps, options.learning_rate)
    return RowSparseAdam(rate, epsilons={"item_embedding": options.item_epsilon})


def encoder_optimizer(options: RankSettings, steps: int) -> keras.optimizers.Optimizer:
    """Plain Adam for an encoder that learns with the network: another peak, the same course."""
    return keras.optimizers.Adam(_learning_rate(options, steps, options.encoder_learning_rate))


def _learning_rate(options: RankSettings, steps: int, peak: float) -> Any:
    """A schedule of tf-models-official."""
    warmup = round(options.warmup * steps)
    falling = max(1, steps - warmup)
    schedules = {
        "constant": {"type": "constant", "constant": {"learning_rate": peak}},
        "cosine": {
            "type": "cosine",
            "cosine": {"initial_learning_rate": peak, "decay_steps": falling, "offset": warmup},
        },
        "linear": {
            "type": "polynomial",
            "polynomial": {
                "initial_learning_rate": peak,
                "end_learning_rate": 0.0,
                "decay_steps": falling,
                "offset": warmup,
            },
        },
    }
    config: dict[str, Any] = {"optimizer": {"type": "adam"}, "learning_rate": schedules[options.schedule]}
    if warmup:
        config["warmup"] = {"type": "linear", "linear": {"warmup_steps": warmup, "warmup_learning_rate": 0.0}}
    return optimization.OptimizerFactory(optimization.OptimizationConfig(config)).build_learning_rate()
