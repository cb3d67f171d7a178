"""Row-sparse training under a strategy beside the same on one device, as JSON: run by `row_sparse_adam_test.py`.

The strategy joins for the second half, from a checkpoint of the first, so moments have to be handed over.
"""

import json
import socket
import sys
import tempfile

import numpy as np
import tensorflow as tf
from tensorflow import keras

from mim_tf.ranking.hashed_embedding import HashedEmbedding
from mim_tf.ranking.row_sparse_adam import RowSparseAdam

ROWS, DIM, BATCH, STEPS = 23, 3, 8, 6  # an odd number of rows: shards of 12 and 11


def parameter_servers() -> tf.distribute.Strategy:
    """A worker and two servers in this process: with more workers, the order of steps would be chance."""
    listeners = [socket.create_server(("", 0)) for _ in range(3)]
    ports = [f"localhost:{listener.getsockname()[1]}" for listener in listeners]
    for listener in listeners:
        listener.close()
    cluster = tf.train.ClusterSpec({"worker": ports[:1], "ps": ports[1:]})
    for job, index in (("worker", 0), ("ps", 0), ("ps", 1)):
        tf.distribute.Server(cluster, job_name=job, task_index=index, protocol="grpc")
    return tf.distribute.ParameterServerStrategy(
        tf.distribute.cluster_resolver.SimpleClusterResolver(cluster, rpc_layer="grpc"),
        variable_partitioner=tf.distribute.experimental.partitioners.FixedShardsPartitioner(2),
    )


def mirrored() -> tf.distribute.Strategy:
    """The CPU as two devices."""
    halves = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], halves)
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


STRATEGIES = {
    "mirrored": mirrored,
    "multi_worker": tf.distribute.MultiWorkerMirroredStrategy,
    "parameter_server": parameter_servers,
}


def new_model() -> keras.Model:
    """A model at its beginning."""
    keras.utils.set_random_seed(0)
    layers = [
        keras.Input([4], dtype="int64"),
        HashedEmbedding(ROWS, DIM),
        keras.layers.Flatten(),
        keras.layers.Dense(1),
    ]
    model = keras.Sequential(layers)
    model.compile(RowSparseAdam(0.1, {"embedding": 0.01}), loss="mse")
    model.optimizer.build(model.trainable_variables)
    return model


def batches(context: tf.distribute.InputContext, first: int) -> tf.data.Dataset:
    """From a step on, a batch per step, of which each replica of a worker takes its share in turn."""
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 30, [STEPS, BATCH, 4])[first:]
    labels = rng.normal(size=[STEPS, BATCH]).astype(np.float32)[first:]
    count = context.num_replicas_in_sync
    replicas = range(context.input_pipeline_id, count, context.num_input_pipelines)
    shares = [
        tuple(np.split(rows, count)[replica] for rows in batch)
        for batch in zip(ids, labels, strict=True)
        for replica in replicas
    ]
    return tf.data.Dataset.from_tensor_slices(tuple(np.stack(part) for part in zip(*shares, strict=True)))


def fit(model: keras.Model, strategy: tf.distribute.Strategy, first: int, last: int) -> None:
    """Train from one step up to another."""
    data = strategy.distribute_datasets_from_function(lambda context: batches(context, first))
    model.fit(data, steps_per_epoch=last - first, verbose=0)


def weights(model: keras.Model) -> np.ndarray:
    """All of them; a table's shards one after the other."""
    return np.concatenate([variable.numpy().ravel() for variable in model.trainable_variables])


def main() -> None:
    """Print how far the strategy's weights are from those of one device, and how far those moved."""
    name = sys.argv[1]
    strategy, alone = STRATEGIES[name](), tf.distribute.get_strategy()
    whole = new_model()
    start = weights(whole)
    fit(whole, alone, 0, STEPS // 2)
    with strategy.scope():
        parts = new_model()
    with tempfile.TemporaryDirectory() as folder:
        path = tf.train.Checkpoint(model=whole, optimizer=whole.optimizer).write(f"{folder}/checkpoint")
        tf.train.Checkpoint(model=parts, optimizer=parts.optimizer).read(path)
    fit(whole, alone, STEPS // 2, STEPS)
    fit(parts, strategy, STEPS // 2, STEPS)
    difference, moved = np.abs(weights(parts) - weights(whole)).max(), np.abs(weights(whole) - start).max()
    print(json.dumps({"difference": float(difference), "moved": float(moved)}))


if __name__ == "__main__":
    main()
