"""How many threads TensorFlow takes in a worker of Spark's."""

from __future__ import annotations

import tensorflow as tf

from mim_tf.spark import task_cores


def take_task_threads() -> None:
    """Run ops on as many threads as the task has cores: an executor runs a task on each, and they would fight."""
    threads = task_cores() or 1
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
