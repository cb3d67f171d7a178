"""From a shop's catalogue and logs to training records: the work of `python -m mim_tf.prepare`."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import ibis
import ibis.expr.types as ir
import pyarrow.compute as pc

from mim_tf.data.cleaning import Progress, clean_impressions, clean_items
from mim_tf.data.contract import Checked, Contract, check_contract
from mim_tf.data.feature_columns import FeatureColumns
from mim_tf.data.feature_statistics import FeatureStatistics
from mim_tf.data.hashing import is_held_out
from mim_tf.data.histories import behaviours_of
from mim_tf.data.item_features import item_features, with_item_features
from mim_tf.data.pair_preparation import PairPreparation, PairSettings
from mim_tf.data.pairs import Rule
from mim_tf.data.record_folder import RecordFolder
from mim_tf.data.rejects import Rejects
from mim_tf.data.sessions import SPLIT, in_order
from mim_tf.data.sources import Source, open_source
from mim_tf.data.timespan import readable, span
from mim_tf.data.workspace import PLACE, Workspace, open_workspace
from mim_tf.engine import LOCAL, Engine
from mim_tf.errors import DataError

REJECTS_FILE = "rejects.parquet"
Location = str | os.PathLike[str]


def prepare(
    *,
    items: Location,
    folder: Location,
    impressions: Location | None = None,
    pairs: Location | None = None,
    validation_pairs: Location | None = None,
    title_columns: Sequence[str] = ("title",),
    validation_from: int | None = None,
    train_from: int | None = None,
    history_length: int = 50,
    session_seconds: int = 1800,
    neighbours: str | None = None,
    pairs_action: str = "purchase",
    pairs_rule: Rule = "co_purchase",
    pairs_per_purchase: int = 3,
    pairs_window_days: int = 30,
    pairs_share: float = 1.0,
    shards: int = 8,
    item_features: Sequence[str] = (),
    impression_features: Sequence[str] = (),
    first_seen: str | None = None,
    held_out: float = 0.1,
    seed: int = 0,
    progress: Progress | None = None,
    engine: Engine = LOCAL,
) -> dict[str, float]:
    """Check the shop's data and write training records.

    Args:
        items: the catalogue, a path or URI as `open_source` takes it.
        folder: a new or empty local folder for the records, their catalogue, `schema.json`, `features.json` and
            `rejects.parquet`. It is complete only when this returns: let it be one that is renamed into place then.
        impressions: the log of what users were shown and chose; without it only items and pairs are made.
        pairs: the visual search log, of which rows of another action are left out; without it pairs are mined from the
            impressions. With neither log only items are made.
        validation_pairs: a second search log, all of which validates; without it, those of the pairs do that lie in the
            validation period, if any.
        title_columns: columns of the catalogue that make the title, joined by ". ".
        validation_from: what happened from this time on (seconds UTC) validates, the rest trains; needed with
            impressions.
        train_from: impressions before this time (seconds UTC) neither train nor validate; they are behaviours of
            histories, count for an item's first appearance, and are queries of mined pairs.
        history_length: behaviours per impression, at most.
        session_seconds: impressions of one user are of one session if each comes at most so long after the one before.
        neighbours: column of the catalogue with broader categories, in which a hard negative is looked for where an
            item's category has none; without it that is the categories beside it by name.
        pairs_action: what makes a pair, "click" or "purchase": rows of this action in search logs, and in impressions
            that have the column `action`.
        pairs_rule: which earlier items are queries of mined pairs: "co_purchase", any; "same_category".
        pairs_per_purchase: mined pairs per item chosen, at most.
        pairs_window_days: how long before the choice a mined pair's query may lie, in days.
        pairs_share: of the mined pairs that is kept, by a hash of what tells them apart; 0 mines none.
        item_features: columns of the catalogue that become features of targets and behaviours.
        impression_features: columns of the impressions that become features, of users, contexts or queries.
        first_seen: column of the catalogue with the first appearance of each item, to tell its age by; without it, or
            where it is null, that is the item's first impression.
        shards: files per kind of record; at least the number of workers that will train.
        held_out: share of the items kept out of pre-training, to measure it on; `0 <= held_out < 1`. Which ones, their
            ids alone decide.
        seed: of the order of rows. The same input and seed give the same bytes.
        progress: called with the name of a step, the rows done and the rows in all.
        engine: where the tables are worked on; each gives the same bytes.

    Returns:
        Figures: rows kept and rejected, pairs, empty histories, seconds, input rows per second.

    Raises:
        DataError: the data break the contract, or a setting leaves nothing to train or validate on.
    """
    started = time.perf_counter()
    _check_positive(
        history_length=history_length,
        session_seconds=session_seconds,
        pairs_per_purchase=pairs_per_purchase,
        pairs_window_days=pairs_window_days,
        shards=shards,
    )
    if not 0 <= held_out < 1:
        raise DataError(f"`data.held_out` must be at least 0 and less than 1. Received: {held_out}.")
    making_pairs = PairSettings(
        pairs_action, pairs_rule, pairs_per_purchase, pairs_window_days, pairs_share, train_from, validation_from
    )
    making_pairs.check()
    if impressions is not None:
        _check_periods(train_from, validation_from)
    elif impression_features:
        raise DataError(
            "`data.impression_features` must be left out where there are no impressions. "
            f"Received: {', '.join(impression_features)}."
        )
    features = FeatureColumns(tuple(item_features), tuple(impression_features), first_seen)
    features.check_names()
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    if any(target.iterdir()):
        raise DataError(f"`folder` must be new or empty. Received: {target}, which holds files.")
    tell = progress or _silent
    with open_workspace(target, engine) as workspace, Rejects(target / REJECTS_FILE, workspace) as rejects:
        contract = check_contract(
            open_source(workspace, "data.items", os.fspath(items)),
            _open(workspace, "data.impressions", impressions),
            _open(workspace, "data.pairs", pairs),
            _open(workspace, "data.validation_pairs", validation_pairs),
            title_columns=title_columns,
            neighbours=neighbours,
            features=features,
        )
        records = RecordFolder(target, workspace, shards=shards, seed=seed, progress=tell)
        job = _Job(workspace, rejects, records, features, tell)
        job.write_items(contract.items, held_out)
        rows = None
        if contract.impressions and validation_from is not None:
            rows = job.write_impressions(
                contract.impressions, train_from, validation_from, history_length, session_seconds
            )
        job.write_pairs(contract, rows, making_pairs)
        job.write_schema(contract, history_length)
        rows_read = sum(workspace.count(table.source.table) for table in contract.tables)
    seconds = time.perf_counter() - started
    return job.metrics | rejects.metrics() | {"seconds": seconds, "rows_per_second": rows_read / seconds}


class _Job:
    """The steps of one preparation, each of which needs what the ones before it made."""

    def __init__(
        self,
        workspace: Workspace,
        rejects: Rejects,
        records: RecordFolder,
        features: FeatureColumns,
        progress: Progress,
    ) -> None:
        self.metrics: dict[str, float] = {}
        self._workspace, self._rejects, self._records, self._progress = workspace, rejects, records, progress
        self._features = features
        self._training: ir.Table | None = None

    def write_items(self, catalogue: Checked, share: float) -> None:
        """Clean, split and write the catalogue, and keep it for the other steps."""
        items, self._images = clean_items(self._workspace, catalogue, self._rejects, self._progress)
        self._items = self._records.placed_items(items.mutate(held_out=is_held_out(items.item_id, share)))
        kinds = [name for name in ("neighbours", "category") if name in self._items.columns]
        in_order = self._items.order_by("item_row")
        listed = in_order.select("item_id", *kinds, "held_out", position=PLACE).to_pyarrow()
        self.metrics |= {"items": len(listed), "items_held_out": pc.sum(listed["held_out"]).as_py()}
        if self.metrics["items_held_out"] == len(listed):
            raise DataError(f"`data.held_out` must leave items to train on. Received: {share}, of {len(listed)} items.")
        self._records.items(self._items, self._images, listed)
        self._count_rejects("items", catalogue)

    def write_impressions(
        self,
        log: Checked,
        train_from: int | None,
        validation_from: int,
        history_length: int,
        session_seconds: int,
    ) -> ir.Table:
        """Clean, split and write the impressions; returns the good ones."""
        rows = clean_impressions(self._workspace, log, self._items, self._rejects)
        rows = rows.mutate(**{SPLIT: _split(rows, train_from, validation_from)})
        before = _check_split(rows, validation_from)
        features = item_features(self._items, self._features.items)
        ordered = in_order(with_item_features(rows, features), session_seconds)
        ordered = self._workspace.keep(ordered.filter(ordered[SPLIT].notnull()))
        known = rows.inner_join(features, "item_id") if self._features.items else rows
        behaviours = self._workspace.keep(behaviours_of(known, self._features.items))
        self._training = ordered.filter(ordered[SPLIT] == "train")
        self.metrics |= self._records.impressions(ordered, behaviours, self._features.fields(ordered), history_length)
        self._count_rejects("impressions", log)
        if train_from is not None:
            self.metrics["impressions_before"] = before
        return rows

    def write_pairs(self, contract: Contract, impressions: ir.Table | None, settings: PairSettings) -> None:
        """Make and write the interest pairs."""
        pairs = PairPreparation(
            self._workspace, self._rejects, self._records, self._items, self._images, settings, self._progress
        )
        pairs.write(contract.pairs, contract.validation_pairs, impressions)
        self.metrics |= pairs.metrics

    def write_schema(self, contract: Contract, history_length: int) -> None:
        """Write down what the records hold, and how the features are distributed."""
        log = contract.impressions
        user_id = str(log.rows.user_id.type()) if log else None
        length = history_length if log else None
        self._records.save_schema(str(self._items.item_id.type()), user_id, length, contract.query_dim)
        features = item_features(self._items, self._features.items)
        statistics = FeatureStatistics.compute(self._workspace, self._features, features, self._training)
        statistics.save(str(self._records.folder))

    def _count_rejects(self, name: str, checked: Checked) -> None:
        self.metrics[f"{name}_rejected"] = self._rejects.count(checked.source.setting)


def _check_positive(**settings: int) -> None:
    for name, value in settings.items():
        if value < 1:
            raise DataError(f"`data.{name}` must be at least 1. Received: {value}.")


def _check_periods(train_from: int | None, validation_from: int | None) -> None:
    if validation_from is None:
        raise DataError(
            "`data.validation_from` must be given where there are impressions: a date as 2025-04-07. Received: nothing."
        )
    if train_from is not None and train_from >= validation_from:
        raise DataError(
            "`data.train_from` must lie before `data.validation_from`. "
            f"Received: {readable(train_from)}, and {readable(validation_from)}."
        )


def _split(rows: ir.Table, train_from: int | None, validation_from: int) -> ir.Value:
    """The split of each row; null where it is of neither and only history."""
    cases = [(rows.timestamp >= validation_from, "validation")]
    if train_from is not None:
        cases.append((rows.timestamp < train_from, ibis.null("string")))
    return ibis.cases(*cases, else_="train")


def _check_split(rows: ir.Table, validation_from: int) -> int:
    """Refuse a split that leaves one side empty, or without purchases, or with nothing else.

    Returns:
        How many rows are of neither.
    """
    counted = rows.group_by(SPLIT, "label").aggregate(rows=rows.count()).to_pyarrow().to_pylist()
    for is_there, rule in (
        (any(row[SPLIT] != "validation" for row in counted), "after the first impression"),
        (any(row[SPLIT] == "validation" for row in counted), "at or before the last impression"),
    ):
        if not is_there:
            raise DataError(
                f"`data.validation_from` must lie {rule}. Received: {readable(validation_from)}, with {span(rows)}."
            )
    for split, name in (("train", "training"), ("validation", "validation")):
        labels = [row["label"] for row in counted if row[SPLIT] == split]
        if len(labels) < 2:
            raise DataError(
                f"`data.impressions` must hold labels 0 and 1 in the {name} period: what was shown and not bought "
                f"teaches as much as what was. Received: {f'only {labels[0]}' if labels else 'no impressions'}."
            )
    return sum(row["rows"] for row in counted if row[SPLIT] is None)


def _open(workspace: Workspace, setting: str, path: Location | None) -> Source | None:
    return None if path is None else open_source(workspace, setting, os.fspath(path))


def _silent(step: str, done: int, total: int) -> None:
    """Report to nobody."""
