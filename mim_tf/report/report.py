"""The page on one run: which sections it has, by how far the run has come."""

from __future__ import annotations

from collections.abc import Iterator, Set
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mim_tf.data.record_cache import transfers_explained
from mim_tf.pages.page import page
from mim_tf.pages.section import Section
from mim_tf.report.gains import Groups, calibration_section, gains_section, groups_by_age, groups_by_category
from mim_tf.report.learning import learning_section
from mim_tf.report.neighbours import neighbours_section
from mim_tf.report.overview import run_section, worth_section
from mim_tf.report.predictions import Predictions, load_predictions
from mim_tf.report.queries import queries_section
from mim_tf.report.shop_items import ShopItems
from mim_tf.report.slices import groups_by_number, slices_section
from mim_tf.report.training_counts import training_counts
from mim_tf.report.users import USERS, users_section
from mim_tf.report.validation_sessions import read_validation
from mim_tf.settings import Settings
from mim_tf.training.models import records_folder
from mim_tf.workdir import StageFolder, stages_of


@transfers_explained()
def report(settings: Settings, workdir: Path, options: str) -> str:
    """Read a run and make the page, as much of it as the run's finished stages give.

    Neither the store nor the records are read into memory, and at most a thousand items are embedded.

    Args:
        settings: of the run.
        workdir: its folder, with `prepare` finished.
        options: of the command line, for commands that are to be run next.

    Returns:
        An HTML document.

    Raises:
        StageError: `prepare` is not finished, or a stage was made with other settings.
        DataError: a file of records is missing or damaged.
    """
    StageFolder(workdir, "prepare").require(settings, options)
    finished = {stage for stage in stages_of(settings) if _finished(StageFolder(workdir, stage), settings)}
    sections = tqdm(_sections(settings, workdir, options, finished), unit="section", disable=None)
    return page("What a run learned", str(workdir), list(sections))


def _sections(settings: Settings, workdir: Path, options: str, finished: Set[str]) -> Iterator[Section]:
    predictions = load_predictions(settings, workdir) if "rank" in finished else None
    yield run_section(settings, workdir, options)
    if predictions:
        yield worth_section(predictions)
    yield learning_section(settings, workdir)
    items = ShopItems(records_folder(StageFolder(workdir, "prepare")))
    if "represent" in finished:
        yield neighbours_section(settings, workdir, items)
        yield queries_section(settings, workdir, items)
    if predictions:
        yield from _click_sections(settings, workdir, items, predictions)


def _finished(stage: StageFolder, settings: Settings) -> bool:
    if stage.finished:
        stage.check(settings)
    return stage.finished


def _click_sections(settings: Settings, workdir: Path, items: ShopItems, predictions: Predictions) -> Iterator[Section]:
    """What there is to see of the click model."""
    records = records_folder(StageFolder(workdir, "prepare"))
    validation = read_validation(records, settings.rank, predictions.impressions, USERS)
    yield users_section(settings, workdir, items, predictions, validation.sessions)
    by_age = groups_by_age(predictions) if predictions.base else {}
    by_category = groups_by_category(predictions) if predictions.base else {}
    yield gains_section(predictions, by_age, by_category)
    yield calibration_section(predictions)
    cuts = {"category": by_category, "item age": by_age} | _further_cuts(
        records, predictions, validation.history_lengths
    )
    yield slices_section(predictions, cuts)


def _further_cuts(records: Path, predictions: Predictions, history_lengths: np.ndarray) -> dict[str, Groups]:
    """Slices by numbers that every impression has; none without a base to compare with."""
    if not predictions.base:
        return {}
    counts = training_counts(records, predictions.impressions.items, predictions.impressions.users)
    numbers = {
        "behaviours before": history_lengths,
        "item's training impressions": counts.of_item,
        "user's training impressions": counts.of_user,
    }
    return {cut: groups_by_number(predictions, of_impressions) for cut, of_impressions in numbers.items()}
