"""The part of preparation that makes interest pairs, logged or mined, to train on and to validate with."""

from __future__ import annotations

from dataclasses import dataclass

import ibis
import ibis.expr.types as ir
import numpy as np

from mim_tf.data.catalogue import Catalogue
from mim_tf.data.chosen_rows import pack
from mim_tf.data.cleaning import ACTIONS, Progress, clean_pairs
from mim_tf.data.contract import Checked
from mim_tf.data.hashing import is_sampled
from mim_tf.data.pairs import RULES, Rule, choices_of, chosen_rows, logged_pairs, mined_pairs, next_choice_pairs
from mim_tf.data.record_folder import RecordFolder
from mim_tf.data.record_schema import PAIRS, VALIDATION_PAIRS
from mim_tf.data.rejects import Rejects
from mim_tf.data.timespan import span
from mim_tf.data.workspace import Workspace
from mim_tf.errors import DataError

_PAIRS_AT_ONCE = 8192


@dataclass(frozen=True)
class PairSettings:
    """What makes a pair; `prepare` describes each.

    Attributes:
        action: "click" or "purchase".
        rule: of mined pairs.
        per_purchase: mined pairs per choice.
        window_days: days that a mined pair's query may lie before the choice.
        share: of the mined pairs that is kept.
        train_from: seconds UTC, of mined pairs' choices; None: all.
        validation_from: seconds UTC.
    """

    action: str
    rule: Rule
    per_purchase: int
    window_days: int
    share: float
    train_from: int | None
    validation_from: int | None

    def check(self) -> None:
        """Check what has a range or a list of values.

        Raises:
            DataError: naming the setting.
        """
        if not 0 <= self.share <= 1:
            raise DataError(f"`data.pairs_share` must be from 0 to 1. Received: {self.share}.")
        if self.action not in ACTIONS:
            raise DataError(f"`data.pairs_action` must be one of {sorted(ACTIONS)}. Received: {self.action!r}.")
        if self.rule not in RULES:
            raise DataError(f"`data.pairs_rule` must be one of {sorted(RULES)}. Received: {self.rule!r}.")


@dataclass(frozen=True)
class _Split:
    """Pairs `key, query, query_item_id, item_id`, perhaps `user_id`, and the images of their queries by `ROW`."""

    pairs: ir.Table
    queries: ir.Table


class PairPreparation:
    """Makes and writes the pairs of both splits.

    Args:
        workspace: the engine.
        rejects: takes the bad rows of search logs.
        records: the folder of records, which holds the items.
        items: the good items, with `item_row`.
        images: the items', by `ROW`.
        settings: what makes a pair.
        progress: told about the images checked.

    Attributes:
        metrics: how many pairs there are, rows left out, and pairs without a hard negative of their own category.
    """

    def __init__(
        self,
        workspace: Workspace,
        rejects: Rejects,
        records: RecordFolder,
        items: ir.Table,
        images: ir.Table,
        settings: PairSettings,
        progress: Progress,
    ) -> None:
        self.metrics: dict[str, float] = {}
        self._workspace, self._rejects, self._records = workspace, rejects, records
        self._items, self._images = items, images
        self._settings, self._progress = settings, progress

    def write(self, log: Checked | None, validation_log: Checked | None, impressions: ir.Table | None) -> None:
        """Write both splits, if there is anything to make pairs of.

        Args:
            log: the search log; without it pairs are mined.
            validation_log: the search log to validate with; without it what is later validates.
            impressions: the good ones, of both periods.
        """
        splits: dict[str, _Split] = {}
        chosen = self._choices(impressions)
        if log:
            rows, queries = self._searches(log, before=self._settings.validation_from, later=validation_log is None)
            splits[PAIRS] = _Split(logged_pairs(rows.filter(rows.trains)), queries)
            splits[VALIDATION_PAIRS] = _Split(logged_pairs(rows.filter(~rows.trains)), queries)
            chosen = _of_users(log.rows, chosen, before=self._settings.validation_from)
        elif impressions is not None and self._settings.validation_from is not None and self._settings.share > 0:
            splits = self._mined(impressions, self._settings.validation_from)
        if validation_log:
            rows, queries = self._searches(validation_log, before=None, later=False)
            splits[VALIDATION_PAIRS] = _Split(logged_pairs(rows), queries)
        if splits and self._workspace.count(self._items) < 2:
            raise DataError("`data.items` must hold at least two items, or no pair has a negative. Received: 1 item.")
        for name, split in splits.items():
            self._write(name, split, chosen if name == PAIRS else None)

    def _searches(self, log: Checked, *, before: int | None, later: bool) -> tuple[ir.Table, ir.Table]:
        """The rows of a search log that make pairs, and their images."""
        action = self._settings.action
        rows, queries = clean_pairs(
            self._workspace, log, self._items, self._rejects, self._progress, action=action, before=before, later=later
        )
        name, rejected = log.source.setting.removeprefix("data."), self._rejects.count(log.source.setting)
        left_out = self._workspace.count(log.source.table) - self._workspace.count(rows) - rejected
        self.metrics |= {f"{name}_rejected": rejected, f"{name}_left_out": left_out}
        return rows, queries

    def _mined(self, impressions: ir.Table, since: int) -> dict[str, _Split]:
        """Pairs mined out of behaviour, whose queries are images of items."""
        settings = self._settings
        choices = self._workspace.keep(choices_of(impressions, settings.action))
        training = choices.filter(choices.timestamp < since)
        pairs = mined_pairs(
            training,
            self._items,
            rule=settings.rule,
            per_purchase=settings.per_purchase,
            window_days=settings.window_days,
            since=settings.train_from,
        )
        pairs = self._workspace.keep(pairs)
        # Of a single day there may be none; of a whole log, the settings are wrong.
        if settings.train_from is None and not self._workspace.count(pairs):
            raise DataError(
                f"`data.pairs_window_days` must span choices ({settings.action}) of two items by one user, of one "
                f"category if `data.pairs_rule` is same_category. Received: {settings.window_days} days, "
                f"{settings.rule}, with {span(training)}."
            )
        later = next_choice_pairs(choices, self._items, since=since, window_days=settings.window_days)
        return {PAIRS: self._sampled(pairs), VALIDATION_PAIRS: self._sampled(later)}

    def _sampled(self, mined: ir.Table) -> _Split:
        """The share of mined pairs that is kept."""
        return _Split(mined.filter(is_sampled("pairs", mined.key, self._settings.share)), self._images)

    def _choices(self, impressions: ir.Table | None) -> ir.Table | None:
        """What users chose in the training period, by any action: `user_id, item_id`."""
        if impressions is None:
            return None
        choices = choices_of(impressions)
        return choices.filter(choices.timestamp < self._settings.validation_from).select("user_id", "item_id")

    def _write(self, name: str, split: _Split, chosen: ir.Table | None) -> None:
        """Write one split; `chosen` are the `user_id, item_id` that are nobody's hard negatives."""
        pairs = self._workspace.keep(split.pairs)
        if chosen is None:
            known = pairs.mutate(chosen_rows=ibis.null("array<int64>"))
        else:
            rows = self._workspace.keep(chosen_rows(chosen, self._items))
            known = pairs.left_join(rows, "user_id").select(*pairs.columns, "chosen_rows")
        total = self._workspace.count(pairs)
        self._records.pairs(name, known, self._items, self._images, split.queries, total=total)
        if name == PAIRS:
            self.metrics["pairs"] = total
            self.metrics["pairs_hard_negative_fallback"] = self._fallbacks(known)
        else:
            self.metrics["pairs_validation"] = total

    def _fallbacks(self, pairs: ir.Table) -> int:
        """How many pairs find no hard negative in their own category, whatever is drawn."""
        catalogue, random = Catalogue(self._records.folder), np.random.default_rng(0)
        rows = pairs.inner_join(self._items, "item_id").select("item_row", "chosen_rows")
        fallbacks = 0
        for batch in self._workspace.stream(rows, _PAIRS_AT_ONCE):
            chosen = pack(batch.column("chosen_rows")).to_pylist()
            _, is_fallback = catalogue.negatives(batch.column("item_row").to_numpy(), chosen, random)
            fallbacks += int(is_fallback.sum())
        return fallbacks


def _of_users(log: ir.Table, chosen: ir.Table | None, *, before: int | None) -> ir.Table | None:
    """What users chose in a search log, by any action, and elsewhere; None where the log does not know its users."""
    if "user_id" not in log.columns:
        return None
    training = log if before is None else log.filter(log.timestamp < before)
    own = training.select("user_id", "item_id")
    return own if chosen is None else ibis.union(own, chosen)
