"""Before the stages: the shop's catalogue and logs to training records."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tqdm import tqdm

from mim_tf.data.preparation import prepare
from mim_tf.data.records import read_items
from mim_tf.settings import Settings
from mim_tf.training.models import records_folder, vocabulary_file
from mim_tf.workdir import StageFolder, fresh_folder_aside, write_aside


def run(settings: Settings, workdir: Path) -> dict[str, float]:
    """Write the records and, for a text encoder that starts from random weights, the vocabulary of the titles."""
    stage = StageFolder(workdir, "prepare")
    records = records_folder(stage)
    aside = fresh_folder_aside(records)
    data = settings.data
    with _Progress() as progress:
        metrics = prepare(
            items=data.items,
            impressions=data.impressions,
            pairs=data.pairs,
            folder=aside,
            title_columns=data.title,
            validation_from=data.validation_from,
            history_length=data.history_length,
            pairs_per_purchase=data.pairs_per_purchase,
            pairs_window_days=data.pairs_window_days,
            shards=data.shards,
            seed=settings.seed,
            progress=progress.show,
        )
    shutil.rmtree(records, ignore_errors=True)
    os.replace(aside, records)
    if settings.encoders.text.weights is None:
        _learn_vocabulary(stage)
    return metrics


def _learn_vocabulary(stage: StageFolder) -> None:
    from mim_tf.encoders import learn_vocabulary  # keras-nlp takes seconds to import; pre-trained encoders need none

    titles = read_items(records_folder(stage)).map(lambda item: item["title"])
    write_aside(vocabulary_file(stage), "\n".join(learn_vocabulary(titles)) + "\n")


class _Progress:
    """A progress bar per step of the preparation."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self, step: str, done: int, total: int) -> None:
        """Move the bar of `step`, a new one when the step is new."""
        if self._bar is None or self._bar.desc != f"{step}: ":
            self.__exit__()
            self._bar = tqdm(desc=step, total=total, disable=None)
        self._bar.update(done - self._bar.n)
