"""The records of a training as batches for every replica of every worker."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from mim_tf.data.training_batches import training_batches
from mim_tf.errors import SettingsError
from mim_tf.settings import TrainingSettings
from mim_tf.training.trainer import Objective, chunk_size_of


@dataclass(frozen=True)
class Records:
    """What is trained on.

    Attributes:
        folder: what `prepare` wrote.
        name: `<kind>/<split>`.
        count: how many there are.
    """

    folder: Path
    name: str
    count: int


def distributed_batches(
    objective: Objective,
    records: Records,
    options: TrainingSettings,
    seed: int,
    step: int,
    strategy: tf.distribute.Strategy,
) -> Any:
    """The batches from a step on; every worker reads its own share of the files."""

    def of_one_worker(context: tf.distribute.InputContext) -> tf.data.Dataset:
        replicas = context.num_replicas_in_sync // context.num_input_pipelines
        return training_batches(
            records.folder,
            records.name,
            batch_size=context.get_per_replica_batch_size(options.batch_size),
            decode=objective.decode,
            assemble=objective.assemble,
            seed=seed,
            first_batch=step * replicas,
            context=context,
        )

    return strategy.distribute_datasets_from_function(of_one_worker)


def epoch_steps(records: int, options: TrainingSettings, replicas: int, section: str) -> int:
    """Full batches per epoch.

    Raises:
        SettingsError: there is not even one, or it does not go evenly onto replicas and chunks.
    """
    size = options.batch_size
    if records < size:
        raise SettingsError(f"`{section}.batch_size` must be at most {records}, all there are. Received: {size}.")
    if size % replicas:
        raise SettingsError(f"`{section}.batch_size` must be a multiple of the {replicas} replicas. Received: {size}.")
    chunk_size = chunk_size_of(options)
    if chunk_size and size // replicas % chunk_size:
        raise SettingsError(
            f"`{section}.chunk_size` must divide the {size // replicas} examples of a replica. Received: {chunk_size}."
        )
    return records // size
