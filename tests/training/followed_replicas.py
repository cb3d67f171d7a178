"""The click model trained under a strategy while its store is written to, as JSON: run by `follow_store_test.py`.

Arguments: a workdir from `toy_ranking.py` and the strategy; `multi_worker` is told by `TF_CONFIG`. The chief writes
after each epoch, and again whenever it has said which version is to be used: who asked the store by itself would get
another one.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from mim_tf.representation import EmbeddingStore
from mim_tf.settings import load_settings
from mim_tf.training import rank
from mim_tf.training.represent import store_path
from mim_tf.training.strategies import make_strategy, split_cpu
from mim_tf.training.table_versions import TableVersions


def main(workdir: Path, name: str) -> None:
    """Print the table's version and all of its embeddings."""
    if name == "mirrored":
        split_cpu(2)
    strategy = make_strategy(name)
    settings = load_settings(workdir / "run.yaml")
    store = EmbeddingStore(store_path(settings, workdir))
    if strategy.extended.should_checkpoint:
        _write_meanwhile(store)
    rank._measured = lambda *arguments: {"auc": 0.5, "grouped_auc": 0.5, "log_loss": 0.7}
    ranker = rank._trained(settings, workdir, "model", 0, strategy)
    versions = TableVersions(workdir / "rank" / "checkpoints" / "model-0")
    stored = store.read(versions.last)
    embeddings = ranker.table.lookup(tf.constant(stored.item_ids)).numpy().tolist()
    print(json.dumps({"first": versions.first, "version": int(ranker.table.version), "embeddings": embeddings}))


def _write_meanwhile(store: EmbeddingStore) -> None:
    """A changed and a new item after every version that the chief notes."""
    note, item = TableVersions.note, int(store.read().item_ids[0])

    def note_and_write(self: Any, version: int) -> None:
        note(self, version)
        embeddings = np.full([2, store.dim], version, np.float32)
        store.upsert(np.array([item, 10**9 + version]), embeddings, encoder="random")

    TableVersions.note = note_and_write


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
