"""What two replicas share, printed as JSON: run by `replicas_test.py` in a process whose devices are still free."""

import json

import numpy as np
import tensorflow as tf

from mim_tf.contrastive import NegativeQueue, gather, own_rows, replica_count, replica_index, replica_mean

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
STRATEGY = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])

# Per replica: rows to gather, what each replica weighs the gathered rows with, and values with their weights.
ROWS = np.array([[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]]], np.float32)
SCALES = np.array([[1.0, 10.0, 100.0, 1000.0], [2.0, 20.0, 200.0, 2000.0]], np.float32)
VALUES = np.array([[2.0, 4.0, 6.0], [10.0, 20.0, 30.0]], np.float32)
WEIGHTS = np.array([[1.0, 1.0, 1.0], [0.0, 0.0, 1.0]], np.float32)

with STRATEGY.scope():
    QUEUE = NegativeQueue(batches=2, rows=4, levels=1, dim=2)


def replica_step(rows: tf.Tensor, scales: tf.Tensor, values: tf.Tensor, weights: tf.Tensor) -> dict[str, tf.Tensor]:
    """Everything that `replicas.py` offers, seen from one replica."""
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([rows, values])
        gathered = gather(rows)
        loss = tf.reduce_sum(scales[:, tf.newaxis] * gathered)
        mean = replica_mean(values, weights)
    return {
        "count": tf.constant(replica_count()),
        "index": tf.identity(replica_index()),
        "gathered": gathered,
        "own": tf.gather(gathered, own_rows(2)),
        "rows_gradient": tape.gradient(loss, rows),
        "mean": mean,
        "values_gradient": tape.gradient(mean, values),
        "mean_of_nothing": replica_mean(values, tf.zeros_like(weights)),
    }


def queue_step(rows: tf.Tensor, number: tf.Tensor) -> dict[str, tf.Tensor]:
    """Push the rows of both replicas, whose items are `10 number` and so on, and ask with the replica's own."""
    items = 10 * number + tf.cast(own_rows(2), tf.int64)
    QUEUE.push(gather(rows)[:, tf.newaxis], gather(items))
    asked = QUEUE(rows, items[:, tf.newaxis], temperature=1.0)
    return {
        "queue_negatives": asked.negatives,
        "queue_largest": asked.largest[:, 0],
        "queue_items": tf.identity(QUEUE.items),
        "queue_rows": tf.identity(QUEUE.embeddings),
    }


def of_replicas(arrays: np.ndarray) -> tf.distribute.DistributedValues:
    """One array for each replica."""
    return STRATEGY.experimental_distribute_values_from_function(
        lambda context: tf.constant(arrays[context.replica_id_in_sync_group])
    )


if __name__ == "__main__":
    seen = tf.function(lambda *arrays: STRATEGY.run(replica_step, arrays))(
        *(of_replicas(arrays) for arrays in (ROWS, SCALES, VALUES, WEIGHTS))
    )
    push = tf.function(lambda rows, number: STRATEGY.run(queue_step, (rows, number)))
    for number in range(3):
        seen |= push(of_replicas(ROWS), tf.constant(number, tf.int64))
    print(json.dumps({name: [local.numpy().tolist() for local in value.values] for name, value in seen.items()}))
