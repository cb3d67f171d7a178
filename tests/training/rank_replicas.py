"""The click model trained under a strategy beside the same on one device, as JSON: run by `rank_replicas_test.py`.

Arguments: a workdir from `toy_ranking.py` and the strategy; `multi_worker` is told by `TF_CONFIG`.
"""

import json
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

from mim_tf.data.records import read_sessions
from mim_tf.metrics import ranking_metrics
from mim_tf.ranking import Ranker
from mim_tf.settings import Settings, load_settings
from mim_tf.training.rank_fit import compiled
from mim_tf.training.rankers import build_ranker
from mim_tf.training.scoring import score_validation
from mim_tf.training.strategies import make_strategy, split_cpu, write_checkpoint
from tests.ranking.row_sparse_replicas import parameter_servers

STEPS, ROWS, CANDIDATES = 3, 16, 4
Arrays = dict[str, np.ndarray]


def batches_of(records: Path) -> list[Arrays]:
    """A batch of sessions per step, for all replicas together; of the last one a replica of two gets nothing."""
    sessions = read_sessions(records, "train", candidates=CANDIDATES, rows=ROWS).take(STEPS)
    batches = list(sessions.as_numpy_iterator())
    first_half = (np.arange(ROWS) < ROWS // 2)[:, np.newaxis]
    return [*batches[:-1], {**batches[-1], "is_shown": batches[-1]["is_shown"] & first_half}]


def dataset(batches: list[Arrays], context: tf.distribute.InputContext) -> tf.data.Dataset:
    """The share of one worker, a batch for each of its replicas in turn."""
    count = context.num_replicas_in_sync
    replicas = range(context.input_pipeline_id, count, context.num_input_pipelines)
    shares = [
        {name: np.split(rows, count)[replica] for name, rows in batch.items()}
        for batch in batches
        for replica in replicas
    ]
    return tf.data.Dataset.from_tensor_slices({name: np.stack([share[name] for share in shares]) for name in shares[0]})


def trained(
    settings: Settings, workdir: Path, start: Path, strategy: tf.distribute.Strategy
) -> tuple[Ranker, list[float]]:
    """A ranker after the steps from given weights, and the loss that `fit` logs of each step."""
    ranker = build_ranker(settings, workdir, "model", strategy)
    ranker.checkpoint().read(str(start)).assert_existing_objects_matched()
    batches, losses = batches_of(workdir / "prepare" / "records"), []
    with strategy.scope():
        model = compiled(ranker, settings.rank, STEPS)
    for batch in batches:
        data = strategy.distribute_datasets_from_function(lambda context, batch=batch: dataset([batch], context))
        losses += model.fit(data, steps_per_epoch=1, verbose=0).history["total_loss"]
    return ranker, losses


def main(workdir: Path, name: str) -> None:
    """Print the largest differences."""
    if name == "mirrored":
        split_cpu(2)
    strategy = parameter_servers() if name == "parameter_server" else make_strategy(name)
    settings = load_settings(workdir / "run.yaml", ["rank.item_epsilon=0.1", "represent.rows=int8"])
    tf.keras.utils.set_random_seed(0)
    own = workdir / f"{name}-{strategy.extended.should_checkpoint}"  # a folder for each worker
    alone = tf.distribute.get_strategy()
    start = build_ranker(settings, workdir, "model").checkpoint().write(str(own / "start"))
    whole, whole_losses = trained(settings, workdir, start, alone)
    parts, losses = trained(settings, workdir, start, strategy)
    write_checkpoint(parts.checkpoint(), str(workdir / name / "end"), strategy)
    loaded = build_ranker(settings, workdir, "model")  # on one device, as for evaluation and export
    before = [variable.numpy() for variable in _restored(loaded, start)]
    weights = [variable.numpy() for variable in _restored(loaded, str(workdir / name / "end"))]
    after = [variable.numpy() for variable in whole.network.trainable_variables]
    scores = [score_validation(ranker, settings, workdir) for ranker in (whole, loaded, parts)]
    metrics = [ranking_metrics(of.labels, of.probabilities, of.users) for of in scores]
    found = {
        "weights": _furthest(weights, after),
        "losses": _furthest(losses, whole_losses),
        **{f"{of}_{key}": abs(metrics[i][key] - metrics[0][key]) for i, of in ((1, "loaded"), (2, "there"))
           for key in ("auc", "log_loss")},
        "moved": _furthest(after, before),
        "parts": len(parts.network.item_embedding.trainable_variables),
        "table": type(parts.table._rows).__name__,
    }  # fmt: skip
    print(json.dumps(found))


def _restored(ranker: Ranker, path: str) -> list[tf.Variable]:
    ranker.checkpoint().read(path).assert_existing_objects_matched()
    return list(ranker.network.trainable_variables)


def _furthest(some: list[np.ndarray], others: list[np.ndarray]) -> float:
    return max(float(np.abs(one - other).max()) for one, other in zip(some, others, strict=True))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
