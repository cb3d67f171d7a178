"""What a worker does that is lost in one training and back in the next, as JSON: run by `lost_workers_test.py`."""

import json
import subprocess
import sys
import time

import tensorflow as tf
from tensorflow import keras

from mim_tf.training.input_server import InputServer
from tests.training.counting_workers import BATCH, EPOCHS, EXAMPLES, Counter, cluster, epochs

Task = tuple[str, int]


def start(jobs: dict[str, list[str]], task: Task) -> subprocess.Popen[bytes]:
    """A worker or the parameter server."""
    command = [sys.executable, "-m", "tests.training.counting_workers", json.dumps(jobs), task[0], str(task[1])]
    return subprocess.Popen(command)


class AfterFirstEpoch(keras.callbacks.Callback):
    """Kills a process after the first epoch; the next one's steps fail on it, and others do them."""

    def __init__(self, process: subprocess.Popen[bytes]):
        super().__init__()
        self._process = process

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Kill it."""
        self._process.kill()
        self._process.wait()


def seen(strategy: tf.distribute.Strategy, *callbacks: keras.callbacks.Callback) -> list[list[float]]:
    """How often a training sees each example, by epoch and beyond the last."""
    with strategy.scope():
        model = Counter()
        model.compile()
    server = InputServer(epochs(), "localhost")
    batches = strategy.distribute_datasets_from_function(lambda _: server.batches())
    model.fit(batches, epochs=EPOCHS, steps_per_epoch=EXAMPLES // BATCH, verbose=0, callbacks=list(callbacks))
    counts: list[list[float]] = model.seen.numpy().tolist()
    return counts


def wait_for_first_worker() -> None:
    """Come back once TensorFlow has connected to it anew."""
    while True:
        try:
            with tf.device("/job:worker/replica:0/task:0"):
                tf.zeros([]).numpy()
        except tf.errors.OpError:
            time.sleep(0.5)
        else:
            return


def main() -> None:
    """Lose the first worker in a training; print what the next one sees, which it has to do alone."""
    jobs = cluster()
    first, other, server = ("worker", 0), ("worker", 1), ("ps", 0)
    served = {task: start(jobs, task) for task in (first, other, server)}
    try:
        resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(tf.train.ClusterSpec(jobs), rpc_layer="grpc")
        strategy = tf.distribute.ParameterServerStrategy(resolver)
        seen(strategy, AfterFirstEpoch(served[first]))
        served[first] = start(jobs, first)
        wait_for_first_worker()
        served[other].kill()
        served[other].wait()
        print(json.dumps(seen(strategy)), flush=True)
    finally:
        for process in served.values():
            process.kill()
            process.communicate()


if __name__ == "__main__":
    main()
