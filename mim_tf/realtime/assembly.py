"""The parts of the real-time process, as the settings describe them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path

from fsspec.core import url_to_fs

from mim_tf.data.images import ImageFolder
from mim_tf.errors import StageError
from mim_tf.realtime.compactor import Compactor
from mim_tf.realtime.dead_letters import DeadLetters
from mim_tf.realtime.event import EventParser
from mim_tf.realtime.folder_source import FolderSource
from mim_tf.realtime.item_embedder import ItemEmbedder, local_embed, remote_embed
from mim_tf.realtime.kafka_source import SCHEME, KafkaSource
from mim_tf.realtime.loop import RealTimeLoop
from mim_tf.realtime.metrics import Metrics
from mim_tf.realtime.publisher import Publisher
from mim_tf.realtime.source import Source
from mim_tf.realtime.table_server import TableServer
from mim_tf.realtime.window import Limits, Window
from mim_tf.representation import EmbeddingStore
from mim_tf.serving.client import Tls
from mim_tf.settings import RealtimeSettings, Settings
from mim_tf.training.item_encoder_model import load_item_encoder_model
from mim_tf.training.represent import fingerprint_file, store_path
from mim_tf.workdir import StageFolder


@contextmanager
def assemble(settings: Settings, workdir: Path, state: Path, stopping: Callable[[], bool]) -> Iterator[RealTimeLoop]:
    """A loop whose publishers run and whose metrics are served; all of it is closed in the end.

    Args:
        settings: of the run.
        workdir: its folder, with a finished `represent` stage.
        state: folder for progress and dead letters.
        stopping: whether the loop is to end.

    Raises:
        DataError: the source is not there.
        SettingsError: a server's address is none.
        ServingError: a file of `realtime.tls` is not what it should be.
        StageError: the store is of another encoder.
    """
    options, represent = settings.realtime, StageFolder(workdir, "represent")
    path = store_path(settings, workdir)
    store = EmbeddingStore(path)
    fingerprint = fingerprint_file(represent).read_text(encoding="utf-8").strip()
    if store.encoder not in (None, fingerprint):
        raise StageError(f"{path} must hold embeddings of {fingerprint}. Received: of {store.encoder}.")
    metrics = Metrics()
    tls = Tls(**options.tls.model_dump()) if options.tls else None
    with ExitStack() as closing:
        source = _source(options, state)
        closing.callback(source.close)
        dead_letters = DeadLetters(state / "dead_letters.jsonl")
        publishers = [Publisher(TableServer(address, tls=tls), path, metrics) for address in options.servers]
        embed = (
            remote_embed(options.encoder, tls=tls)
            if options.encoder
            else local_embed(load_item_encoder_model(represent), fingerprint)
        )
        embedder = ItemEmbedder(embed, fingerprint)
        embedder.warm_up()
        parser = EventParser(store.id_type, settings.data.title, _images(options))
        limits = Limits(options.window_seconds, options.window_rows, options.batch_size)
        window = Window(store, parser, embedder, dead_letters, limits)
        compactor = Compactor(path, options.compact_every, timedelta(hours=options.keep_hours))
        closing.callback(compactor.wait, 10.0)
        if options.metrics_port is not None:
            port = metrics.serve(options.metrics_host, options.metrics_port)
            print(f"Metrics at http://{options.metrics_host}:{port}/metrics", flush=True)
        for publisher in publishers:
            publisher.start()
            closing.callback(publisher.join, 10.0)
            closing.callback(publisher.stop)
        yield RealTimeLoop(source, window, publishers, compactor, metrics, stopping)


def _source(options: RealtimeSettings, state: Path) -> Source:
    if options.source.startswith(SCHEME):
        return KafkaSource(options.source, options.kafka)
    return FolderSource(Path(options.source), state / "progress.json")


def _images(options: RealtimeSettings) -> ImageFolder | None:
    """The folder that image paths lead into."""
    folder = options.images or (None if options.source.startswith(SCHEME) else options.source)
    return ImageFolder(*url_to_fs(folder)) if folder else None
