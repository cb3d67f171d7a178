"""Negatives per query on two replicas at every step, printed as JSON: run by `replica_negatives_test.py`, in a process
whose devices are still free."""

import json
import math

import tensorflow as tf

from mim_tf.contrastive import NegativeQueue
from mim_tf.finetuning.multi_level import MultiLevel
from mim_tf.finetuning.space_time_contrast import SpaceTimeContrast

REPLICAS = 2


def counted(strategy: tf.distribute.Strategy, pairs: int, k: int) -> list[list[float]]:
    """Of each step: the negatives as counted, and as told by the loss of rows that are all alike; items all differ."""
    rows = 2 * pairs * REPLICAS
    with strategy.scope():
        queue = NegativeQueue(batches=k, rows=rows, levels=1, dim=2) if k else None
        loss = SpaceTimeContrast(MultiLevel(0, 0), 1.0, queue=queue)

    def of_replica(step: tf.Tensor) -> tf.Tensor:
        number = tf.distribute.get_replica_context().replica_id_in_sync_group
        first = tf.cast(rows * step + 2 * pairs * number, tf.int64)
        batch = {
            "items": first + tf.reshape(tf.range(2 * pairs, dtype=tf.int64), [pairs, 2]),
            "query_item": tf.fill([pairs], tf.constant(-1, tf.int64)),
        }
        scalars = loss(tf.ones([pairs, 2]), tf.ones([pairs, 2, 1, 2]), batch, training=True)
        return tf.stack([scalars["negatives"], scalars["loss"]])

    step = tf.function(lambda number: strategy.experimental_local_results(strategy.run(of_replica, (number,))))
    found = [[result.numpy().tolist() for result in step(tf.constant(number))] for number in range(k + 3)]
    return [[value for count, cost in of_step for value in (count, math.exp(cost) - 1)] for of_step in found]


def main() -> None:
    """Print the counts of every case."""
    parts = [tf.config.LogicalDeviceConfiguration()] * REPLICAS
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], parts)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    print(json.dumps({f"{pairs} {k}": counted(strategy, pairs, k) for pairs in (4, 32) for k in (0, 1, 10)}))


if __name__ == "__main__":
    main()
