"""What is published to a folder of served models, from a run's finished stages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from mim_tf.data.record_schema import RecordSchema
from mim_tf.errors import SettingsError
from mim_tf.export.item_encoder import save_item_encoder
from mim_tf.export.saved_model import save_ranker
from mim_tf.export.table_model import save_table, table_of
from mim_tf.export.version_folders import version_folder, version_folders, versions
from mim_tf.ranking import Ranker, RankingNetwork
from mim_tf.representation import EmbeddingStore, StoredEmbeddings
from mim_tf.representation.slots import Shard, check_shard
from mim_tf.settings import Settings
from mim_tf.training.models import records_folder
from mim_tf.training.rank import load_ranker
from mim_tf.training.represent import store_path
from mim_tf.workdir import StageFolder

ITEM_ENCODER = "item_encoder"


def publish_ranker(settings: Settings, workdir: Path, models: Path) -> Path:
    """The trained ranker and the newest version of the store in one SavedModel.

    Returns:
        The new version's folder.

    Raises:
        StageError: there is no store, or it is not of the encoder that the network was trained with.
        DataError: the table cannot be made.
    """
    name, store = settings.export.model_name, _store(settings, workdir)
    network = load_ranker(settings, workdir, "model").network
    version = _next_version(models, name, store)
    with ExitStack() as context:
        stored = context.enter_context(_newest(store, f"{name}-{version}")) if network.uses_content else None
        folder = context.enter_context(version_folder(models / name, version))
        table = None if stored is None else table_of(stored, settings)
        _save(Ranker(network, table, settings.rank.negatives_kept), folder, workdir, stored)
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
        SettingsError: the store cannot be cut into so many, or the network uses no content.
        StageError: there is no store, or it is not of the encoder that the network was trained with.
        DataError: a table cannot be made.
        OSError: a folder cannot be written, or get its name.
    """
    name, store = settings.export.model_name, _store(settings, workdir)
    _check(count, store)
    trained = _with_content(load_ranker(settings, workdir, "model").network) if network else None
    version = _next_version(models, name, store)
    tables = [models / f"{name}_table_{number}" for number in range(count)]
    published = tables if trained is None else [*tables, models / name]
    with _newest(store, f"{name}-{version}") as stored, version_folders(published, version) as folders:
        for number in range(count):
            save_table(stored.shard(number, count), folders[number], settings)
        if trained is not None:
            _save(Ranker(trained, None, settings.rank.negatives_kept), folders[-1], workdir, stored)
    return [model / str(version) for model in published]


def publish_item_encoder(workdir: Path, models: Path) -> Path:
    """The encoder of new items.

    Returns:
        The new version's folder.

    Raises:
        StageError: the `represent` stage left none.
    """
    model = models / ITEM_ENCODER
    version = max(versions(model), default=0) + 1
    with version_folder(model, version) as folder:
        save_item_encoder(StageFolder(workdir, "represent"), folder)
    return model / str(version)


def _store(settings: Settings, workdir: Path) -> EmbeddingStore:
    return EmbeddingStore(store_path(settings, workdir))


def _next_version(models: Path, name: str, store: EmbeddingStore) -> int:
    """Above all versions of the ranker and its tables that are there or, wherever they are, keep a version tagged."""
    there = [version for model in (models / name, *models.glob(f"{name}_table_*")) for version in versions(model)]
    numbers = [tag.removeprefix(f"{name}-") for tag in store.tags if tag.startswith(f"{name}-")]
    return max([*there, *(int(number) for number in numbers if number.isdecimal())], default=0) + 1


@contextmanager
def _newest(store: EmbeddingStore, tag: str) -> Iterator[StoredEmbeddings]:
    """The newest version of the store, tagged: a server that starts later asks for the changes since.

    It is tagged before it is written, which may take long: a compaction meanwhile would leave tables that cannot catch
    up. An export that fails takes its tag away.
    """
    stored = store.read()
    store.tag(tag, stored.version)
    try:
        yield stored
    except BaseException:
        store.untag(tag)
        raise


def _with_content(network: RankingNetwork) -> RankingNetwork:
    if not network.uses_content:
        raise SettingsError(
            "--shards: one of `rank.content`, `rank.fusion` and `rank.query` must be on, or no table is read."
        )
    return network


def _check(count: int, store: EmbeddingStore) -> None:
    try:
        check_shard(Shard(count - 1, count), store.slots)
    except ValueError as error:
        raise SettingsError(f"--shards: {error}") from error


def _save(ranker: Ranker, folder: Path, workdir: Path, stored: StoredEmbeddings | None) -> None:
    schema = RecordSchema.load(records_folder(StageFolder(workdir, "prepare")))
    save_ranker(ranker, folder, dtypes=schema.fields("impressions"), stored=stored)
