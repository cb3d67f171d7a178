"""Settings of the shop's files."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from mim_tf.settings.section import Section


def _seconds(value: Any) -> Any:
    """A date, in YAML's own form or ISO 8601 text, as seconds since 1970 UTC; numbers pass through."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError("must be a date as 2025-04-07, or seconds since 1970 UTC") from None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if isinstance(value, datetime):
        return int((value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp())
    return value


Seconds = Annotated[int, BeforeValidator(_seconds)]


class DataSettings(Section):
    """The shop's files and how they become training records."""

    items: str = Field(description="catalogue: path, folder or URI of Parquet, CSV or JSON lines")
    impressions: str | None = Field(None, description="impression log; needed by the rank stage")
    pairs: str | None = Field(None, description="visual search log; without one, pairs are mined from impressions")
    validation_pairs: str | None = Field(None, description="search log that C-SFT is measured on; null: later rows")
    title: tuple[str, ...] = Field(("title",), min_length=1, description="item columns joined into the title text")
    validation_from: Seconds | None = Field(None, description="date or second (UTC) at which validation starts")
    train_from: Seconds | None = Field(
        None, description="date or second (UTC) before which impressions are history alone, and queries of mined pairs"
    )
    history_length: int = Field(50, ge=1, description="behaviours kept per impression, the latest ones")
    session_seconds: int = Field(1800, ge=1, description="a longer pause of a user begins another session, seconds")
    neighbours: str | None = Field(
        None,
        description="item column of broader categories, for hard negatives; null: the categories beside it by name",
    )
    pairs_action: Literal["click", "purchase"] = Field("purchase", description="what makes a pair")
    pairs_rule: Literal["co_purchase", "same_category"] = Field(
        "co_purchase", description="mined pairs: which earlier items are queries; same_category: of the item's own"
    )
    pairs_per_purchase: int = Field(3, ge=1, description="mined pairs: queries per item chosen, the latest ones")
    pairs_window_days: int = Field(60, ge=1, description="mined pairs: how old such a query may be, days")
    pairs_share: float = Field(1.0, ge=0, le=1, description="mined pairs: share kept, by a hash; 0: none are mined")
    item_features: tuple[str, ...] = Field((), description="item columns kept as features, of targets and behaviours")
    impression_features: tuple[str, ...] = Field((), description="impression columns of users, contexts and queries")
    first_seen: str | None = Field(
        None, description="item column, date or second (UTC) of its first appearance; null: its first impression"
    )
    shards: int = Field(
        4,
        ge=1,
        description="record files per split; at least the workers that train, or the cores that write",
    )
    records: str | None = Field(
        None, description="URI of an empty folder for the record files; null: W/prepare/records"
    )
    cache: str | None = Field(
        None, description="folder of each machine that files of `records` are fetched to; null: W/prepare/records"
    )
    held_out: float = Field(0.1, ge=0, lt=1, description="share of items kept out of stage 1, by a hash of the id")

    @model_validator(mode="after")
    def _something_to_cache(self) -> Self:
        if self.cache is not None and self.records is None:
            raise ValueError("`cache` is for record files in an object store: set `records` too")
        return self
