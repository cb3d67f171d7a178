"""How many threads TensorFlow takes in a worker of Spark's."""

from __future__ import annotations

import tensorflow as tf


def take_task_threads() -> None:
    """Run ops on as many threads as the task has cores: an executor runs a task on each, and they would fight."""
    from pyspark import TaskContext

    task = TaskContext.get()
    threads = 1 if task is None else task.cpus()
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
