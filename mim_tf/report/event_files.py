"""Scalars out of TensorBoard's event files."""

from __future__ import annotations

import math
from pathlib import Path

import tensorflow as tf
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from mim_tf.figures.learning_curves import Curve


def read_scalars(folder: Path) -> dict[str, Curve]:
    """All scalars of one training, by tag.

    A training that was interrupted has left several files. What it did again counts as it was done last. Values that
    are not finite are left out, and what is not whole at the end of a file.

    Args:
        folder: with event files; those of its subfolders are other trainings'.
    """
    found: dict[str, dict[int, float]] = {}
    for path in sorted(folder.glob("events.out.tfevents.*")):  # their names begin with the time
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == "scalars":
                    found.setdefault(value.tag, {})[event.step] = float(tf.make_ndarray(value.tensor))
    return {tag: _curve(values) for tag, values in found.items()}


def _curve(values: dict[int, float]) -> Curve:
    finite = sorted((step, value) for step, value in values.items() if math.isfinite(value))
    return Curve([step for step, _ in finite], [value for _, value in finite])
