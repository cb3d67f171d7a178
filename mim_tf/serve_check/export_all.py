"""All models of a run, and requests to them with what the training model answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from mim_tf.export.encoder_cases import encoder_cases
from mim_tf.export.publication import publish_encoders, publish_ranker, publish_shards
from mim_tf.export.ranker_cases import ranker_cases, real_rows
from mim_tf.export.table_cases import contents_cases, table_cases
from mim_tf.representation import EmbeddingStore
from mim_tf.serve_check.exported import Exported
from mim_tf.serve_check.odd_images import odd_images
from mim_tf.settings import Settings
from mim_tf.training.models import records_folder
from mim_tf.training.rank import load_ranker
from mim_tf.training.rankers import reads_table
from mim_tf.training.represent import store_path
from mim_tf.training.tables import read_embeddings, table_of
from mim_tf.workdir import StageFolder

_SHARDS = 2
_TITLES = ["", "日傘 – パラソル", "Ünïcödé ÇAN 🧢", "e\u0301 and \u00e9", "a" * 2000]


def export_all(settings: Settings, workdir: Path, folder: Path, rows: int) -> list[Exported]:
    """Export everything that a run has: whole and with the encoders to `folder`/whole, in shards to `folder`/sharded.

    The store is left as it was: the tags that exports give it are taken away again.

    Args:
        settings: of the run.
        workdir: its folder.
        folder: to export to.
        rows: of the large requests.

    Raises:
        ExportError: a model does not pass the gate.
    """
    with _same_tags(EmbeddingStore(store_path(settings, workdir))):
        impressions = real_rows(records_folder(StageFolder(workdir, "prepare")), rows)
        stored = read_embeddings(settings, workdir) if reads_table(settings, "model") else None
        table = None if stored is None else table_of(stored, settings, spare=settings.export.spare)
        trained = load_ranker(settings, workdir, "model", table=table)
        cases = ranker_cases(trained, impressions, stored, contents=False)
        if stored is not None and table is not None:
            cases += table_cases(table, stored, rows)
        exported = [Exported(publish_ranker(settings, workdir, folder / "whole"), cases)]
        exported += _encoders(settings, workdir, folder / "whole", rows)
        if stored is not None:
            *shards, network = publish_shards(settings, workdir, folder / "sharded", _SHARDS, network=True)
            for number, shard in enumerate(shards):
                part = stored.shard(number, _SHARDS)
                table = table_of(part, settings, spare=settings.export.spare)
                exported.append(Exported(shard, table_cases(table, part, rows)))
            cases = [*ranker_cases(trained, impressions, stored, contents=True), *contents_cases(stored)]
            exported.append(Exported(network, cases))
    return exported


@contextmanager
def _same_tags(store: EmbeddingStore) -> Iterator[None]:
    """The folders that new tags are for go away in the end, so the tags do: they would keep versions for ever."""
    before = set(store.tags)
    try:
        yield
    finally:
        for tag in set(store.tags) - before:
            store.untag(tag)


def _encoders(settings: Settings, workdir: Path, models: Path, rows: int) -> list[Exported]:
    """The encoders, asked for odd images and titles one by one, and for many at once."""
    represent = StageFolder(workdir, "represent")
    images = odd_images()
    many = np.resize(np.array([*images, None], object)[:-1], rows)
    titles = np.resize(np.array([title.encode() for title in _TITLES], object), rows)
    of_queries, of_items = publish_encoders(settings, workdir, models)
    exported = []
    for folder, names in ((of_items, ("image", "title")), (of_queries, ("image",))):
        inputs = {name: {"image": many, "title": titles}[name] for name in names}
        requests = [{name: values[n : n + 1] for name, values in inputs.items()} for n in range(len(images))]
        cases = [encoder_cases(represent, request)[0] for request in requests] + encoder_cases(represent, inputs)
        exported.append(Exported(folder, cases, text_ops="title" in names))
    return exported
