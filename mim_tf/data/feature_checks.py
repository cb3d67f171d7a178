"""What the data contract asks of the columns that become features of the click model."""

from __future__ import annotations

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.types as ir
import numpy as np

from mim_tf.data.column_checks import ColumnChecks, kind_of, type_name
from mim_tf.data.feature_columns import FeatureColumns
from mim_tf.data.item_features import FEATURE, FIRST_SEEN
from mim_tf.data.record_schema import QUERY_EMBEDDING
from mim_tf.data.sources import Source, reading

_KINDS = ("int64", "float64", "string")
_LARGEST = float(np.finfo(np.float32).max)  # records hold float32
_NOT_FINITE = "null, NaN or beyond float32"
_DATE = r"\d{4}-\d{2}-\d{2}"
# Engines differ in whether 24:00 is a time, and in how far from Greenwich a zone may lie: none is 15 hours away.
_TIME, _ZONE = r"([01]\d|2[0-3]):\d{2}(:\d{2}(\.\d+)?)?", r"(Z|[-+](0\d|1[0-4]):[0-5]\d)"
_MINUTE = len("2025-04-07 12:00")
_MOMENT = rf"^{_DATE}([T ]{_TIME}{_ZONE}?)?\z"


def check_features(
    check: ColumnChecks, features: FeatureColumns, items: Source, impressions: Source | None
) -> int | None:
    """Check the columns of all features.

    Of `items`, features are kept under `FEATURE` and their name, which may be a column of the title too, and the first
    appearance as `FIRST_SEEN`, in seconds UTC. Of `impressions` they are kept under their own names.

    Args:
        check: takes what keeps the contract and what breaks it.
        features: names the columns.
        items: the catalogue.
        impressions: the log, where there is one.

    Returns:
        The length of the queries' embeddings; None where the log has none.
    """
    for name in features.items:
        _check_feature(check, items, name, FEATURE + name)
    if features.first_seen is not None:
        _check_first_seen(check, items, features.first_seen)
    if impressions is None:
        return None
    for name in features.impressions:
        _check_feature(check, impressions, name, name)
    return _check_query_embedding(check, impressions) if QUERY_EMBEDDING in impressions.columns else None


def _check_feature(check: ColumnChecks, source: Source, name: str, kept_as: str) -> None:
    """Numbers are int64 or float32 and finite; text that is missing is empty."""
    if not check.is_there(source, name):
        return
    column = source.table[name]
    with reading(source.setting, source.path):
        kind = _feature_kind(column, source.typed)
    if kind == "string":
        check.keep(source, kept_as, column.cast("string").fill_null(""))
    elif kind in _KINDS:
        number = column.cast(kind)
        broken = source.table.filter(number.isnull() if kind == "int64" else ~_is_finite(number))
        _refuse_missing(check, source, name, broken)
        # Adding 0.0 makes -0.0 the zero that engines group it with.
        check.keep(source, kept_as, number.cast("int64") if kind == "int64" else (number + 0.0).cast("float32"))
    else:
        rule = "be int64, float or string to be a feature"
        check.violate(source, name, rule, type_name(column), source.table.filter(column.notnull()))


def _feature_kind(column: ir.Column, typed: bool) -> str:
    dtype = column.type()
    if dtype.is_boolean():
        return "int64"
    # Spark has no uint64, and reads it as a decimal.
    if dtype.is_floating() or dtype.is_decimal() or isinstance(dtype, dt.UInt64):
        return "float64"
    return kind_of(column, typed, _KINDS)


def _refuse_missing(check: ColumnChecks, source: Source, name: str, broken: ir.Table) -> None:
    rule = (
        "hold a finite number in every row to be a feature: put a number of your choice where there is none, as the "
        "mean, or make the column text, where an empty one stands for what is missing"
    )
    ids = [column for column in ("user_id", "item_id") if column in source.columns]
    _violate_if_any(check, source, name, rule, _NOT_FINITE, broken, *ids, name)


def _check_first_seen(check: ColumnChecks, items: Source, name: str) -> None:
    """Seconds as int64, dates, timestamps or ISO 8601 text, UTC where they name no zone; each may be missing."""
    if not check.is_there(items, name):
        return
    column, dtype = items.table[name], items.table[name].type()
    with reading(items.setting, items.path):
        kind = kind_of(column, items.typed, ("int64", "string"))
    if kind == "int64":
        seconds: ir.Value = column.cast("int64")
    elif dtype.is_date() or dtype.is_timestamp():
        seconds = _seconds(column.cast("timestamp") if dtype.is_date() else column)
    elif kind == "string":
        text = column.nullif("")
        seconds = seconds_of_text(text)
        broken = items.table.filter(text.notnull() & seconds.isnull())
        rule = "hold dates as 2025-04-07 or 2025-04-07T12:00:00+02:00, seconds (int64) or nothing"
        _violate_if_any(check, items, name, rule, "other text", broken, name)
    else:
        rule = "be int64 (seconds), date, timestamp or string (a date as 2025-04-07)"
        check.violate(items, name, rule, type_name(column), items.table.filter(column.notnull()))
        return
    check.keep(items, FIRST_SEEN, seconds)


def seconds_of_text(text: ir.Value) -> ir.Value:
    """Seconds UTC of dates and times in ISO 8601, null where a text is none."""
    # Spark wants seconds before a zone. A timestamp without a zone would drop the text's own.
    without = text.re_search(rf"^{_DATE}.\d{{2}}:\d{{2}}(Z|[-+]|\z)")
    whole = ibis.ifelse(without, text.left(_MINUTE) + ":00" + text.substr(_MINUTE), text)
    moment = whole.try_cast("timestamp('UTC')")
    return ibis.ifelse(text.re_search(_MOMENT), _seconds(moment), ibis.null("int64"))


def _seconds(moment: ir.Value) -> ir.Value:
    # Engines differ in how they round parts of a second; whole seconds leave nothing to round.
    return moment.truncate("s").epoch_seconds().cast("int64")


def _check_query_embedding(check: ColumnChecks, log: Source) -> int | None:
    """Lists of finite floats, all of one length; a query that is missing has zeros."""
    column = log.table[QUERY_EMBEDDING]
    dtype = column.type()
    if not (dtype.is_array() and dtype.value_type.is_numeric() and not dtype.value_type.is_boolean()):
        rule = "be a list of floats, which Parquet and JSON lines can hold"
        check.violate(log, QUERY_EMBEDDING, rule, type_name(column), log.table.filter(column.notnull()))
        return None
    column = column.cast("array<float64>")
    with reading(log.setting, log.path):
        length = _commonest_length(column)
    if not length:
        rule = "hold a query's embedding in some row; leave the column out where there are no queries"
        check.violate(log, QUERY_EMBEDDING, rule, "null or empty lists", log.table)
        return None
    for rule, received, is_broken in (
        (f"hold lists of one length, {length} as in most rows", "another length", column.length() != length),
        ("hold finite numbers only", _NOT_FINITE, column.filter(lambda value: ~_is_finite(value)).length() > 0),
    ):
        rule += ", or null where there is no query"
        _violate_if_any(check, log, QUERY_EMBEDDING, rule, received, log.table.filter(is_broken), QUERY_EMBEDDING)
    no_query = ibis.literal([0.0] * length, "array<float32>")
    check.keep(log, QUERY_EMBEDDING, ibis.ifelse(column.isnull(), no_query, column.cast("array<float32>")))
    return length


def _commonest_length(column: ir.Column) -> int | None:
    lengths = column.length().name("length").as_table().filter(lambda rows: rows.length.notnull())
    counted = lengths.group_by("length").aggregate(rows=lengths.count())
    (first,) = counted.order_by(ibis.desc("rows"), "length").limit(1).to_pyarrow()["length"].to_pylist() or [None]
    return first


def _is_finite(number: ir.Value) -> ir.Value:
    # By arithmetic: DuckDB answers comparisons and `isnan` by Parquet's statistics where it can, which leave NaN out.
    return ((number.abs() <= _LARGEST) & (number - number == 0)).fill_null(False)


def _violate_if_any(
    check: ColumnChecks, source: Source, name: str, rule: str, received: str, broken: ir.Table, *shown: str
) -> None:
    with reading(source.setting, source.path):
        any_broken = broken.limit(1).count().to_pyarrow().as_py()
    if any_broken:
        check.violate(source, name, rule, received, broken, shown)
