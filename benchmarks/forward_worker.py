"""The floor of `benchmarks.bulk_embedding`: what a saved item encoder embeds of one batch, again and again.

    .venv/bin/python -m benchmarks.forward_worker ENCODER ITEMS.parquet RESULT.json

The batch is decoded and tokenised before the clock starts: this is the forward pass alone.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import pyarrow.parquet as pq
import tensorflow as tf

from mim_tf.finetuning.item_encoder import ItemEncoder
from mim_tf.training.filling import embeddings_of, encoder_inputs

BATCH, SECONDS = 256, 10.0


def main(encoder_folder: str, items: str, result: str) -> None:
    """Write items a second."""
    encoder = ItemEncoder.load_folder(Path(encoder_folder))
    columns = pq.read_table(items, columns=["image", "title"]).slice(0, BATCH).to_pydict()
    records = tf.data.Dataset.from_tensor_slices({name: tf.constant(column) for name, column in columns.items()})
    batch = next(iter(encoder_inputs(encoder, records, BATCH)))
    embeddings_of(encoder, batch, BATCH)  # traces
    begun, passes = time.monotonic(), 0
    while time.monotonic() - begun < SECONDS:
        embeddings_of(encoder, batch, BATCH)
        passes += 1
    rate = passes * BATCH / (time.monotonic() - begun)
    Path(result).write_text(json.dumps({"items_per_second": rate}), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
