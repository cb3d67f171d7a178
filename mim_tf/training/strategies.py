"""Where a training runs: on one device, on all of a machine's, or on several machines that train in step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import tensorflow as tf

from mim_tf.errors import StageError
from mim_tf.settings import Strategy
from mim_tf.training.workers import PATIENCE_SECONDS, await_workers, worker_of


def make_strategy(name: Strategy, patience_seconds: float = PATIENCE_SECONDS) -> tf.distribute.Strategy:
    """The strategy of a setting. To be called before TensorFlow does anything else in the process.

    Args:
        name: one_device; mirrored, on all GPUs of this machine, or all its logical CPUs where it has no GPU; or
            multi_worker, with the workers that `TF_CONFIG` lists.
        patience_seconds: how long to wait for the other workers.

    Raises:
        StageError: `TF_CONFIG` is not as it should be, or workers are missing.
    """
    worker = worker_of(name)
    if name == "multi_worker":
        await_workers(worker, patience_seconds)
        return tf.distribute.MultiWorkerMirroredStrategy()
    if name == "mirrored":
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    return tf.distribute.get_strategy()


def split_cpu(devices: int) -> None:
    """Let TensorFlow see the CPU as several devices, to try `mirrored` where there is no GPU.

    To be called before TensorFlow does anything else in the process; again, it may be called with the same number.
    """
    parts = [tf.config.LogicalDeviceConfiguration()] * devices
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], parts)


def wait_for_all(strategy: tf.distribute.Strategy, asked: bool = False) -> bool:
    """Come back once every worker has come here, and say whether any of them asked."""
    if strategy.num_replicas_in_sync == 1:
        return asked
    return bool(strategy.reduce(tf.distribute.ReduceOp.SUM, strategy.run(lambda: tf.constant(float(asked))), axis=None))


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
