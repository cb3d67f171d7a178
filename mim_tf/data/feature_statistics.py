"""The statistics of all features, in `features.json` beside the records."""

from __future__ import annotations

import json
import os
import posixpath
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import ibis.expr.types as ir
import tensorflow as tf

from mim_tf.data.column_statistics import ColumnStatistics, statistics_of
from mim_tf.data.feature_columns import FeatureColumns
from mim_tf.data.record_schema import ITEM_AGE, ITEM_PREFIX
from mim_tf.data.workspace import Workspace
from mim_tf.errors import DataError

FEATURES_FILE = "features.json"


@dataclass(frozen=True)
class FeatureStatistics:
    """The statistics of all features.

    Attributes:
        items: by column, of the fields `item_<column>` and `history_<column>`, over the whole catalogue.
        impressions: by field, of the training impressions, `item_age` among them.
    """

    items: Mapping[str, ColumnStatistics]
    impressions: Mapping[str, ColumnStatistics]

    @classmethod
    def compute(
        cls, workspace: Workspace, columns: FeatureColumns, items: ir.Table, training: ir.Table | None
    ) -> FeatureStatistics:
        """Compute them.

        Args:
            workspace: the engine.
            columns: the features.
            items: the good items, with `item_<column>`.
            training: the training impressions with their features; None where there are none.
        """
        of_items = _statistics(workspace, items, {name: ITEM_PREFIX + name for name in columns.items})
        if training is None:
            return cls(of_items, {})
        fields = (*columns.impressions, ITEM_AGE)
        return cls(of_items, _statistics(workspace, training, {name: name for name in fields}))

    def save(self, folder: str) -> None:
        """Write them into a folder."""
        with tf.io.gfile.GFile(posixpath.join(folder, FEATURES_FILE), "w") as file:
            file.write(json.dumps(asdict(self), ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> FeatureStatistics:
        """Read them from a folder.

        Raises:
            DataError: the folder holds no statistics.
        """
        path = posixpath.join(os.fspath(folder), FEATURES_FILE)
        try:
            with tf.io.gfile.GFile(path, "r") as file:
                held = json.loads(file.read())
            return cls(_columns(held["items"]), _columns(held["impressions"]))
        except tf.errors.NotFoundError as error:
            raise DataError(
                f"`folder` must hold `{FEATURES_FILE}`: prepare again, if the records are older. Received: {folder}."
            ) from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DataError(f"`{FEATURES_FILE}` must be as `prepare` wrote it. Received: {path}: {error}") from error


def _statistics(workspace: Workspace, table: ir.Table, columns: Mapping[str, str]) -> dict[str, ColumnStatistics]:
    """The statistics of columns by the names that they are kept under."""
    rows = workspace.count(table) if columns else 0
    return {name: statistics_of(workspace, table[column], rows) for name, column in columns.items()}


def _columns(held: dict[str, dict[str, Any]]) -> dict[str, ColumnStatistics]:
    tuples = ("quantiles", "vocabulary", "counts")
    return {
        name: ColumnStatistics(**column | {field: tuple(column[field]) for field in tuples})
        for name, column in held.items()
    }
