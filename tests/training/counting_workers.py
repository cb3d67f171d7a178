"""How often workers of a parameter server see each example of a shared input, as JSON: run by `input_server_test.py`.

Without arguments it is the chief; with a cluster and a task it is that task. Workers are processes of their own.
"""

import json
import os
import subprocess
import sys
import time

import tensorflow as tf
from tensorflow import keras

from mim_tf.training.input_server import InputServer
from tests.training.free_addresses import free_addresses

EXAMPLES, BATCH, EPOCHS = 600, 10, 3


class Counter(keras.Model):
    """Counts the examples it is trained on."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = self.add_weight(name="seen", shape=(EPOCHS + 1, EXAMPLES), initializer="zeros", trainable=False)
        self.built = True

    def train_step(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Count."""
        places = tf.stack([tf.fill([BATCH], batch["epoch"]), batch["example"]], axis=1)
        self.seen.assign_add(tf.scatter_nd(places, tf.ones([BATCH]), [EPOCHS + 1, EXAMPLES]), read_value=False)
        return {"loss": tf.zeros([])}


def epochs() -> tf.data.Dataset:
    """Epoch after epoch, each in another order."""

    def epoch(number: tf.Tensor) -> tf.data.Dataset:
        examples = tf.data.Dataset.range(EXAMPLES).shuffle(EXAMPLES, seed=number).batch(BATCH)
        return examples.map(lambda rows: {"example": rows, "epoch": tf.minimum(number, EPOCHS)})

    return tf.data.Dataset.range(10**6).flat_map(epoch)


def cluster() -> dict[str, list[str]]:
    """Two workers and a server at free ports."""
    addresses = free_addresses(3)
    return {"worker": addresses[:2], "ps": addresses[2:]}


def main() -> None:
    """Train as the chief, and print how often each example of each epoch was seen."""
    jobs = cluster()
    tasks = [(job, index) for job, addresses in jobs.items() for index in range(len(addresses))]
    command = [sys.executable, "-m", "tests.training.counting_workers", json.dumps(jobs)]
    served = [subprocess.Popen([*command, job, str(index)]) for job, index in tasks]
    try:
        resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(tf.train.ClusterSpec(jobs), rpc_layer="grpc")
        strategy = tf.distribute.ParameterServerStrategy(resolver)
        with strategy.scope():
            model = Counter()
            model.compile()
        server = InputServer(epochs(), "localhost")
        batches = strategy.distribute_datasets_from_function(lambda _: server.batches())
        model.fit(batches, epochs=EPOCHS, steps_per_epoch=EXAMPLES // BATCH, verbose=0)
        print(json.dumps(model.seen.numpy().tolist()))
    finally:
        for process in served:
            process.kill()
            process.communicate()


def serve(jobs: str, job: str, index: str) -> None:
    """Do as the chief says, until killed, or until the chief was."""
    chief = os.getppid()
    tf.distribute.Server(tf.train.ClusterSpec(json.loads(jobs)), job_name=job, task_index=int(index), protocol="grpc")
    while os.getppid() == chief:
        time.sleep(1)


if __name__ == "__main__":
    serve(*sys.argv[1:]) if sys.argv[1:] else main()
