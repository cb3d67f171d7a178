"""Before the stages: the shop's catalogue and logs to training records."""

from __future__ import annotations

import os
import shutil
import time
import uuid
from pathlib import Path

from tqdm import tqdm

from mim_tf.data.preparation import prepare
from mim_tf.data.record_cache import claim, move
from mim_tf.data.records import read_items
from mim_tf.encoders import learn_vocabulary
from mim_tf.engine import LOCAL, Engine
from mim_tf.settings import Settings
from mim_tf.training.models import records_folder, write_vocabulary
from mim_tf.workdir import StageFolder, fresh_folder_aside, write_aside


def run(settings: Settings, workdir: Path, engine: Engine = LOCAL) -> dict[str, float]:
    """Write the records, and the titles' vocabulary for text encoders that start from random weights."""
    stage = StageFolder(workdir, "prepare")
    records = records_folder(stage)
    aside = fresh_folder_aside(records)
    data, begun = settings.data, time.time()
    if data.records is not None:
        claim(data.records, _owner(stage))
    with _Progress() as progress:
        metrics = prepare(
            items=data.items,
            impressions=data.impressions,
            pairs=data.pairs,
            validation_pairs=data.validation_pairs,
            folder=aside,
            title_columns=data.title,
            validation_from=data.validation_from,
            train_from=data.train_from,
            history_length=data.history_length,
            session_seconds=data.session_seconds,
            neighbours=data.neighbours,
            pairs_action=data.pairs_action,
            pairs_rule=data.pairs_rule,
            pairs_per_purchase=data.pairs_per_purchase,
            pairs_window_days=data.pairs_window_days,
            pairs_share=data.pairs_share,
            item_features=data.item_features,
            impression_features=data.impression_features,
            first_seen=data.first_seen,
            shards=data.shards,
            held_out=data.held_out,
            seed=settings.seed,
            progress=progress.show,
            engine=engine,
        )
    titles = read_items(aside, "train").map(lambda item: item["title"])
    write_vocabulary(stage, learn_vocabulary(titles))
    if data.records is not None:
        move(aside, data.records, data.cache)
    shutil.rmtree(records, ignore_errors=True)
    os.replace(aside, records)
    return metrics | {"prepared_at": begun}  # seconds since 1970 UTC: what is said of items later is newer


def _owner(stage: StageFolder) -> str:
    """What tells this preparation from others where its records are left; the same when it is run again."""
    file = stage.path / "owner.partial"  # no result: settings that are refused are forgotten in spite of it
    if not file.exists():
        write_aside(file, uuid.uuid4().hex)
    return file.read_text(encoding="utf-8")


class _Progress:
    """A progress bar per step of the preparation."""

    def __init__(self) -> None:
        self._step = ""
        self._done = 0
        self._bar = tqdm(disable=True)

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def show(self, step: str, done: int, total: int) -> None:
        """Move the bar of `step`, a new one when the step is new."""
        if step != self._step:
            self._bar.close()
            self._step, self._done, self._bar = step, 0, tqdm(desc=step, total=total, disable=None)
        self._bar.update(done - self._done)
        self._done = done
