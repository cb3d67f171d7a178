"""Which columns of the shop's tables are features of the click model, and the fields they become in the records."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import ibis.expr.types as ir

from mim_tf.data.record_schema import (
    FIELDS,
    HISTORY_END,
    HISTORY_PREFIX,
    ITEM_AGE,
    ITEM_PREFIX,
    QUERY_EMBEDDING,
    SESSION,
)
from mim_tf.errors import DataError

# What a user did tells the label, and `impressions` and `history` are those of a record before they are parted into
# fields. Rows of sessions say which of their candidates were shown.
# The last are the embeddings that a ranker adds, and what requests to a served one hold beside the fields.
_TAKEN = (
    *FIELDS["impressions"],
    *(ITEM_AGE, QUERY_EMBEDDING, SESSION, HISTORY_END, "action", "impressions", "history", "is_shown"),
    *("item_content", "history_content", "history_length", "top_k", "state_content", "state_fusion", "state_model"),
)
_INTERNAL = "__"
"""How columns that only preparation knows begin."""


@dataclass(frozen=True)
class FeatureColumns:
    """The features' columns.

    Attributes:
        items: columns of the catalogue: the fields `item_<column>` of the target, `history_<column>` of behaviours.
        impressions: columns of the impression log: fields of the same name.
        first_seen: the column of the catalogue that says when an item first appeared; None: it is looked up in the log.
    """

    items: tuple[str, ...] = ()
    impressions: tuple[str, ...] = ()
    first_seen: str | None = None

    def check_names(self) -> None:
        """Check that every feature has fields of its own, whatever an engine thinks of upper and lower case.

        Raises:
            DataError: a field is taken, twice wanted or reserved; the message lists all of them.
        """
        taken = {field.casefold() for field in _TAKEN}
        refused = []
        for setting, column, fields in self._wanted():
            for field in fields:
                if field.casefold() in taken:
                    refused.append(f"`{column}` of `data.{setting}`, whose field `{field}` there is already")
                elif setting == "impression_features" and column.startswith((HISTORY_PREFIX, _INTERNAL)):
                    refused.append(f"`{column}` of `data.{setting}`, as such names are reserved")
            taken |= {field.casefold() for field in fields}
        if refused:
            raise DataError(
                "The columns of `data.item_features` and `data.impression_features` must become fields of their own in "
                f"the records: leave them out, or give them other names in the tables. Received: {'; '.join(refused)}."
            )

    def fields(self, rows: ir.Table) -> dict[str, str]:
        """The fields that features become and their types: int64, float32 or string.

        Args:
            rows: impressions with the features of impressions and items.
        """
        types: dict[str, str] = {}
        for _, _, fields in self._wanted():
            types |= dict.fromkeys(fields, record_type(rows[fields[0]]))
        return types | {ITEM_AGE: record_type(rows[ITEM_AGE])}

    def _wanted(self) -> Iterator[tuple[str, str, tuple[str, ...]]]:
        """Setting, column and fields of each feature."""
        for column in self.items:
            yield "item_features", column, (ITEM_PREFIX + column, HISTORY_PREFIX + column)
        for column in self.impressions:
            yield "impression_features", column, (column,)


def record_type(column: ir.Column) -> str:
    """The type of a checked feature as records spell it."""
    return str(column.type()).removeprefix("!")
