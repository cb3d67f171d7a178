"""Where a training runs: on one device, on all of a machine's, or on several machines that train in step."""

from __future__ import annotations

import faulthandler
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import tensorflow as tf

from mim_tf.errors import StageError
from mim_tf.settings import RankStrategy
from mim_tf.training.rendezvous import meet
from mim_tf.training.weights_digest import tell_weights
from mim_tf.training.workers import PATIENCE_SECONDS, await_servers, worker_of

# A variable is cut only into shards of at least this size: asking another machine has its price too.
_SHARD_BYTES = 256 * 1024


def make_strategy(name: RankStrategy, patience_seconds: float = PATIENCE_SECONDS) -> tf.distribute.Strategy:
    """The strategy of a setting. To be called before TensorFlow does anything else in the process.

    Args:
        name: one_device; mirrored, on all GPUs of this machine, or all its logical CPUs where it has no GPU;
            multi_worker, with the workers that `TF_CONFIG` lists; or parameter_server, with its workers and ps tasks.
        patience_seconds: how long to wait for the other workers; after as long again without the cluster, the process
            ends with code 1 and the place where it was.

    Raises:
        StageError: `TF_CONFIG` is not as it should be, or workers are missing.
    """
    worker = worker_of(name)
    if name == "multi_worker":
        meet(worker, patience_seconds)
        with _ended_after(patience_seconds):
            return tf.distribute.MultiWorkerMirroredStrategy()
    if name == "parameter_server":
        await_servers(worker, patience_seconds)
        with _ended_after(patience_seconds):
            return _parameter_servers()
    if name == "mirrored":
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    return tf.distribute.get_strategy()


@contextmanager
def _ended_after(seconds: float) -> Iterator[None]:
    """End the process if the block takes longer.

    A worker that is lost just now keeps TensorFlow waiting for ten minutes and more, deaf to signals, and with Python's
    lock in its hands: only a watch that needs neither can end that.
    """
    faulthandler.dump_traceback_later(seconds, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def _parameter_servers() -> tf.distribute.Strategy:
    cluster = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    partitioner = tf.distribute.experimental.partitioners.MinSizePartitioner(
        _SHARD_BYTES, max_shards=cluster.cluster_spec().num_tasks("ps")
    )
    return tf.distribute.ParameterServerStrategy(cluster, variable_partitioner=partitioner)


def split_cpu(devices: int) -> None:
    """Let TensorFlow see the CPU as several devices, to try `mirrored` where there is no GPU.

    To be called before TensorFlow does anything else in the process; again, it may be called with the same number.
    """
    parts = [tf.config.LogicalDeviceConfiguration()] * devices
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], parts)


def wait_for_all(strategy: tf.distribute.Strategy, asked: bool = False) -> bool:
    """Come back once every worker has come here, and say whether any of them asked."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):  # there is no other process to ask
        return asked
    return bool(strategy.reduce(tf.distribute.ReduceOp.SUM, strategy.run(lambda: tf.constant(float(asked))), axis=None))


def write_checkpoint(checkpoint: tf.train.Checkpoint, path: str, strategy: tf.distribute.Strategy) -> None:
    """Write a checkpoint, and come back once it is there for every worker to read.

    All workers write: values that replicas keep apart, such as Dice's statistics, are averaged over them when read. The
    chief's files stay. Each of several workers prints a digest of what it wrote.
    """
    with tempfile.TemporaryDirectory() as aside:
        written = path if strategy.extended.should_checkpoint else f"{aside}/checkpoint"
        checkpoint.write(written)
        if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
            tell_weights(Path(path).name, _values_in(written))
    wait_for_all(strategy)


def _values_in(path: str) -> Iterator[np.ndarray]:
    """The values of a checkpoint, in the order of their names."""
    reader = tf.train.load_checkpoint(path)
    for name in sorted(reader.get_variable_to_shape_map()):
        if name != "_CHECKPOINTABLE_OBJECT_GRAPH":
            yield reader.get_tensor(name)


@contextmanager
def no_worker_lost() -> Iterator[None]:
    """Say what to do about a worker that is gone; TensorFlow notices within a minute.

    Raises:
        StageError: in place of TensorFlow's error.
    """
    try:
        yield
    except tf.errors.UnavailableError as error:
        raise StageError(
            "another worker is lost. Run the same command again on all workers: they go on from the last checkpoint. "
            f"TensorFlow says: {error.message.splitlines()[0]}"
        ) from error
