"""What a worker or a parameter server does under `strategy: parameter_server`: as the chief says, until it is gone."""

from __future__ import annotations

import sys

import tensorflow as tf

from mim_tf.errors import StageError
from mim_tf.training.workers import PATIENCE_SECONDS, Worker, outlast_chief


def serve(worker: Worker, patience_seconds: float = PATIENCE_SECONDS) -> None:
    """Serve, and come back once the chief has come and gone.

    Args:
        worker: which task this process is.
        patience_seconds: how long to wait for the chief.

    Raises:
        StageError: the address is in use, or the chief did not come.
    """
    job, index = worker.task.split()
    cluster = tf.distribute.cluster_resolver.TFConfigClusterResolver().cluster_spec()
    try:
        server = tf.distribute.Server(cluster, job_name=job, task_index=int(index), protocol="grpc")
    except tf.errors.OpError as error:
        raise StageError(
            f"`TF_CONFIG`: {worker.task} cannot listen at {worker.addresses[worker.index]}: {error.message}."
        ) from error
    print(f"{worker.task} of {server.target.removeprefix('grpc://')} serves {worker.addresses[0]}", file=sys.stderr)
    outlast_chief(worker, patience_seconds)
