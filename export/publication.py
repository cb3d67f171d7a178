"""What is published to a folder of served models, from a run's finished stages.

Each model is written aside, gets warm-up records, passes the gate, and only then its name. One export at a time works
in a folder of models.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np

from mim_tf.data.record_schema import RecordSchema
from mim_tf.errors import ExportError, SettingsError
from mim_tf.export.encoder_cases import encoder_cases, real_items
from mim_tf.export.gate import Case, check_model
from mim_tf.export.item_encoder import save_item_encoder
from mim_tf.export.provenance import write_provenance
from mim_tf.export.query_encoder import save_query_encoder
from mim_tf.export.ranker_cases import Rows, ranker_cases, real_rows
from mim_tf.export.saved_model import save_ranker
from mim_tf.export.table_cases import contents_cases, table_cases, upsert_cases
from mim_tf.export.table_model import save_table
from mim_tf.export.version_folders import version_folder, version_folders, versions
from mim_tf.export.warm_up import write_warm_up
from mim_tf.ranking import Ranker
from mim_tf.representation import EmbeddingStore, StoredEmbeddings
from mim_tf.representation.slots import Shard, check_shard
from mim_tf.settings import ITEM_ENCODER, QUERY_ENCODER, Settings
from mim_tf.training.models import records_folder
from mim_tf.training.rank import load_ranker
from mim_tf.training.rankers import reads_table
from mim_tf.training.represent import store_path
from mim_tf.training.tables import read_embeddings, table_of
from mim_tf.workdir import StageFolder, exclusive

_LARGEST_CONSTANT = 16 * 2**20  # bytes: TF Text's tokenisers and vocabularies hold their pieces in the graph


def publish_ranker(settings: Settings, workdir: Path, models: Path) -> Path:
    """The trained ranker and the newest version of the store in one SavedModel.

    Returns:
        The new version's folder.

    Raises:
        ExportError: the model does not pass the gate.
        StageError: there is no store, or it is not of the encoder that the network was trained with.
        DataError: the table cannot be made, or the records are damaged.
    """
    name = settings.export.model_name
    with _alone_in(models):
        version = _next_version(models, name, _store(settings, workdir))
        newest = _newest(settings, workdir, f"{name}-{version}") if reads_table(settings, "model") else nullcontext()
        with newest as stored, version_folder(models / name, version) as folder:
            _write_ranker(settings, workdir, folder, stored)
    return models / name / str(version)


def publish_shards(settings: Settings, workdir: Path, models: Path, count: int, *, network: bool) -> list[Path]:
    """The newest version of the store as tables of their own, and the network that is given their contents.

    Args:
        settings: of the run.
        workdir: its folder.
        models: folder to publish to.
        count: of tables.
        network: whether the network is published too.

    Returns:
        The new folders: `<model>_table_<p>/<version>` for p in 0 .. `count` - 1, and `<model>/<version>`. They appear
        when all are written, the network last; if one cannot appear, those that did are taken away again.

    Raises:
        ExportError: a model does not pass the gate.
        SettingsError: the store cannot be cut into so many, or the network uses no content.
        StageError: there is no store, or it is not of the encoder that the network was trained with.
        DataError: a table cannot be made, or the records are damaged.
        OSError: a folder cannot be written, or get its name.
    """
    name, store = settings.export.model_name, _store(settings, workdir)
    _check(count, store)
    if network and not reads_table(settings, "model"):
        raise SettingsError(
            "--shards: one of `rank.content`, `rank.fusion` and `rank.query` must be on, or no table is read."
        )
    tables = [models / f"{name}_table_{number}" for number in range(count)]
    published = [*tables, models / name] if network else tables
    with _alone_in(models):
        version = _next_version(models, name, store)
        with _newest(settings, workdir, f"{name}-{version}") as stored, version_folders(published, version) as folders:
            for number in range(count):
                _write_shard(settings, workdir, folders[number], stored.shard(number, count))
            if network:
                _write_network(settings, workdir, folders[-1], stored)
    return [model / str(version) for model in published]


def publish_encoders(settings: Settings, workdir: Path, models: Path) -> list[Path]:
    """The encoder of new items, and that of query images.

    Returns:
        The new versions' folders.

    Raises:
        ExportError: a model does not pass the gate.
        StageError: the `represent` stage left none.
        DataError: the records are damaged.
    """
    represent = StageFolder(workdir, "represent")
    items = real_items(records_folder(StageFolder(workdir, "prepare")))
    names = [models / QUERY_ENCODER, models / ITEM_ENCODER]
    with _alone_in(models):
        version = max((number for name in names for number in versions(name)), default=0) + 1
        with version_folders(names, version) as (of_queries, of_items):
            save_query_encoder(represent, of_queries)
            _finish(settings, represent, of_queries, encoder_cases(represent, {"image": items["image"]}))
            save_item_encoder(represent, of_items)
            _finish(settings, represent, of_items, encoder_cases(represent, items), text_ops=True)
    return [name / str(version) for name in names]


def _write_ranker(settings: Settings, workdir: Path, folder: Path, stored: StoredEmbeddings | None) -> None:
    """The ranker, with its table inside if it has one."""
    table = None if stored is None else table_of(stored, settings, spare=settings.export.spare)
    ranker = load_ranker(settings, workdir, "model", table=table)
    rows = _save(ranker, folder, settings, workdir, stored)
    cases, changing = ranker_cases(ranker, rows, stored, contents=False), []
    if table is not None and stored is not None:
        cases += table_cases(table, stored)
        changing = upsert_cases(table, stored)
    del ranker, table  # the gate's processes load it again
    _finish(settings, StageFolder(workdir, "rank"), folder, cases, stored, changing=changing)


def _write_network(settings: Settings, workdir: Path, folder: Path, stored: StoredEmbeddings) -> None:
    """The ranker without its table. What it is compared with has one of the items that it is asked for."""
    records = records_folder(StageFolder(workdir, "prepare"))
    trained = load_ranker(settings, workdir, "model", table=table_of(_of_rows(stored, real_rows(records)), settings))
    ranker = Ranker(trained.network, None, settings.rank.negatives_kept)
    rows = _save(ranker, folder, settings, workdir, stored)
    cases = ranker_cases(trained, rows, stored, contents=True) + contents_cases(stored)
    _finish(settings, StageFolder(workdir, "rank"), folder, cases, stored)


def _write_shard(settings: Settings, workdir: Path, folder: Path, stored: StoredEmbeddings) -> None:
    table = table_of(stored, settings, spare=settings.export.spare)
    save_table(table, stored, folder)
    cases, changing = table_cases(table, stored), upsert_cases(table, stored)
    cases.append(cases[0]._replace(signature="serving_default"))
    del table
    _finish(settings, StageFolder(workdir, "represent"), folder, cases, stored, changing=changing)


def _save(ranker: Ranker, folder: Path, settings: Settings, workdir: Path, stored: StoredEmbeddings | None) -> Rows:
    """Write a ranker's SavedModel; returns rows to try it with."""
    records = records_folder(StageFolder(workdir, "prepare"))
    dtypes = RecordSchema.load(records).fields("impressions")
    save_ranker(ranker, folder, dtypes=dtypes, stored=stored, most_pairs=settings.export.most_pairs)
    return real_rows(records)


def _finish(
    settings: Settings,
    made_by: StageFolder,
    folder: Path,
    cases: Sequence[Case],
    stored: StoredEmbeddings | None = None,
    *,
    changing: Sequence[Case] = (),
    text_ops: bool = False,
) -> None:
    """Warm-up records, the gate, and where the model comes from.

    Cases that change the model are for the gate alone, whose processes have it for themselves.
    """
    model = folder.parent.name
    write_warm_up(folder, model, cases)
    seconds = settings.export.gate_seconds
    report = check_model(
        folder, [*cases, *changing], text_ops=text_ops, largest_constant=_LARGEST_CONSTANT, timeout=seconds
    )
    if report.untested:
        raise ExportError(f"{model}: every signature must have a case. Received: none of {', '.join(report.untested)}.")
    write_provenance(folder, settings, made_by, stored, report)
    print(f"{model}: {report}", file=sys.stderr)


def _of_rows(stored: StoredEmbeddings, rows: Rows) -> StoredEmbeddings:
    """The items of some impressions alone."""
    asked = {item for name in ("item_id", "history_item_id") for item in rows[name].ravel().tolist()}
    asked |= {item.decode() for item in asked if isinstance(item, bytes)}
    mine = np.fromiter((item in asked for item in stored.item_ids.tolist()), bool, len(stored.item_ids))
    count = int(mine.sum())
    return stored._replace(item_ids=stored.item_ids[mine], rows=np.arange(count), embeddings=stored.embeddings[mine])


def _store(settings: Settings, workdir: Path) -> EmbeddingStore:
    return EmbeddingStore(store_path(settings, workdir))


def _next_version(models: Path, name: str, store: EmbeddingStore) -> int:
    """Above all versions of the ranker and its tables that are there or, wherever they are, keep a version tagged."""
    there = [version for model in (models / name, *models.glob(f"{name}_table_*")) for version in versions(model)]
    numbers = [tag.removeprefix(f"{name}-") for tag in store.tags if tag.startswith(f"{name}-")]
    return max([*there, *(int(number) for number in numbers if number.isdecimal())], default=0) + 1


@contextmanager
def _alone_in(models: Path) -> Iterator[None]:
    """One export at a time: two would choose one version and write into one folder.

    Raises:
        StageError: another one works in the folder.
    """
    models.mkdir(parents=True, exist_ok=True)
    with exclusive(models):
        yield


@contextmanager
def _newest(settings: Settings, workdir: Path, tag: str) -> Iterator[StoredEmbeddings]:
    """The newest version of the store, tagged: a server that starts later asks for the changes since.

    It is tagged before it is written, which may take long: a compaction meanwhile would leave tables that cannot catch
    up. An export that fails takes its tag away.
    """
    stored, store = read_embeddings(settings, workdir), _store(settings, workdir)
    if tag in store.tags:  # another export's, to another folder, since the version was chosen
        raise ExportError(f"{store.path} has a version tagged {tag} already: export again.")
    store.tag(tag, stored.version)
    try:
        yield stored
    except BaseException:
        store.untag(tag)
        raise


def _check(count: int, store: EmbeddingStore) -> None:
    try:
        check_shard(Shard(count - 1, count), store.slots)
    except ValueError as error:
        raise SettingsError(f"--shards: {error}") from error
