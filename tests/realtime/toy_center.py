"""A finished `represent` stage whose encoder is arithmetic, a served table, and the events of a shop.

An item's embedding is two numbers that its picture shows, so whoever knows the events knows what store and servers
must hold.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

from mim_tf.representation import EmbeddingStore, EmbeddingTable
from mim_tf.representation.signatures import table_signatures
from mim_tf.settings import Settings, dump_settings
from mim_tf.workdir import StageFolder

FINGERPRINT = "arithmetic"
ENV = {name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"} | {"LANCE_LOG": "error"}


class ToyCenter:
    """A workdir and its commands.

    Args:
        folder: an empty one.
        realtime: settings of that section, beside the source.
    """

    def __init__(self, folder: Path, **realtime: object):
        self.folder, self.workdir = folder, folder / "work"
        self.incoming, self.models = folder / "incoming", folder / "models"
        self.incoming.mkdir(parents=True)
        settings = Settings.model_validate(
            {
                "data": {"items": "items.parquet"},
                "encoders": {"dim": 2},
                "realtime": {"source": str(self.incoming)} | realtime,
            }
        )
        (folder / "run.yaml").write_text(dump_settings(settings))
        represent = StageFolder(self.workdir, "represent")
        with represent.begin(settings):
            self.store = EmbeddingStore.create(represent.path / "store.lance", id_type="int64", dim=2)
            self.store.upsert(np.array([1]), np.array([[1.0, 0]]), encoder=FINGERPRINT)
            (represent.path / "fingerprint.txt").write_text(FINGERPRINT + "\n")
            save_encoder(represent.path / "item_encoder_model")
            represent.finish({"items": 1})

    def export(self, spare: int = 20_000, version: int = 1) -> int:
        """The table of the store as it is, as a version of the model `table`, whole at once as a server finds it.

        Returns:
            The store's version that it holds, which has the tag `table-<version>`.
        """
        stored = self.store.read()
        self.store.tag(f"table-{version}", stored.version)
        holder = tf.Module()
        holder.table = EmbeddingTable.of(stored, spare=spare)
        aside, model = self.folder / "aside" / str(version), self.models / "table"
        tf.saved_model.save(holder, str(aside), signatures=table_signatures(holder.table, stored))
        model.mkdir(parents=True, exist_ok=True)
        aside.rename(model / str(version))
        return stored.version

    def realtime(self, *arguments: str) -> list[str]:
        """The command."""
        run = ["--config", str(self.folder / "run.yaml"), "--workdir", str(self.workdir)]
        return [sys.executable, "-m", "mim_tf.realtime", *run, *arguments]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command to its end."""
        return subprocess.run(self.realtime(*arguments), capture_output=True, text=True, check=False, env=ENV)

    def held(self) -> dict[int, tuple[int, int]]:
        """What the store holds."""
        stored = self.store.read()
        pairs = (tuple(row) for row in stored.embeddings.astype(int).tolist())
        return dict(zip(stored.item_ids.tolist(), pairs, strict=True))


def save_encoder(folder: Path) -> None:
    """A SavedModel as the stage leaves it, which embeds a picture as the two halves of its number."""

    def decoded(image: tf.Tensor) -> tf.Tensor:
        return tf.cast(tf.io.decode_image(image, 3, expand_animations=False)[0, 0, :2], tf.float32)

    strings = tf.TensorSpec([None], tf.string)
    module = tf.Module()
    module.embed = tf.function(
        lambda images, titles: tf.map_fn(decoded, images, fn_output_signature=tf.TensorSpec([2], tf.float32)),
        input_signature=[strings, strings],
    )
    tf.saved_model.save(module, str(folder))


def expected(number: int) -> tuple[int, int]:
    """The embedding of the picture of a number."""
    return number % 256, number // 256
