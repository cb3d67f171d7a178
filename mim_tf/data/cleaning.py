"""Parting the rows that can be used from those that cannot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import ibis
import ibis.expr.types as ir

from mim_tf.data.contract import Checked
from mim_tf.data.images import CHECKED_IMAGES, IMAGE, ImageCheck, ImageFolder
from mim_tf.data.rejects import REASON, Case, Reason, Rejects, first_reason
from mim_tf.data.sources import FILE, ROW, Source, reading
from mim_tf.data.timespan import readable, span
from mim_tf.data.workspace import Workspace
from mim_tf.errors import DataError

Progress = Callable[[str, int, int], None]
"""Called with the name of a step, the rows done and the rows in all."""
ACTIONS = ("click", "purchase")
# -1 pads histories; the two smallest integers mark the empty and the deleted slots of the lookup table.
_RESERVED = (-1, -(2**63), -(2**63) + 1)
_IMAGES_PER_BATCH = 512


def clean_items(
    workspace: Workspace, catalogue: Checked, rejects: Rejects, progress: Progress
) -> tuple[ir.Table, ir.Table]:
    """Clean the catalogue; of items with one id the first good one stays.

    Args:
        workspace: the engine.
        catalogue: the items as the contract gives them.
        rejects: takes the bad rows.
        progress: told about the images checked.

    Returns:
        The good items, with all columns of the contract but `FILE`, and their images (`ROW, image`).

    Raises:
        DataError: no item is left.
    """
    rows = catalogue.rows.mutate(category=catalogue.rows.category.cast("string").strip())
    cases = [
        (rows.item_id.isnull(), Reason.MISSING_ITEM_ID),
        (_is_reserved(rows.item_id), Reason.RESERVED_ITEM_ID),
        (rows.title == "", Reason.EMPTY_TITLE),
        (rows.category.fill_null("") == "", Reason.MISSING_CATEGORY),
    ]
    judged = _judged(workspace, catalogue.source, rows, cases)
    wanted = judged.filter(judged[REASON].isnull())
    images = _checked_images(workspace, catalogue.source, wanted, IMAGE, Reason.UNDECODABLE_IMAGE, progress)
    judged = workspace.keep(_without_duplicates(_with_images(judged, images)))
    good = rejects.part(catalogue.source, judged)
    return good.drop(FILE), images.select(ROW, IMAGE)


def clean_impressions(workspace: Workspace, log: Checked, items: ir.Table, rejects: Rejects) -> ir.Table:
    """Clean the impressions and give each the category of its item.

    Args:
        workspace: the engine.
        log: the impressions as the contract gives them.
        items: the good items.
        rejects: takes the bad rows.

    Returns:
        The good rows: `ROW, user_id, item_id, category, timestamp, label`, perhaps `action`.

    Raises:
        DataError: no row is left.
    """
    rows = _with_category(log.rows, items)
    cases = [
        (rows.category.isnull(), Reason.UNKNOWN_ITEM),
        (rows.user_id.isnull(), Reason.MISSING_USER),
        (rows.timestamp.isnull(), Reason.MISSING_TIMESTAMP),
        (rows.label.isnull() | rows.label.notin([0, 1]), Reason.BAD_LABEL),
    ]
    if "action" in rows.columns:
        cases.append(((rows.label == 1) & _is_unknown(rows.action), Reason.UNKNOWN_ACTION))
    judged = rows.mutate(**{REASON: first_reason(*cases)})
    with reading(log.source.setting, log.source.path):
        # The log is read again for the bad rows, if any, rather than kept: only of these files are named.
        good = workspace.keep(judged.filter(judged[REASON].isnull()).drop(REASON, FILE))
        left = workspace.count(good)
        if left < workspace.count(log.source.table):
            rejects.take(log.source, judged)
    rejects.check_all_there(log.source, left)
    rejects.check_some_left(log.source, left)
    return good


def clean_pairs(
    workspace: Workspace,
    log: Checked,
    items: ir.Table,
    rejects: Rejects,
    progress: Progress,
    *,
    action: str,
    before: int | None,
    later: bool,
) -> tuple[ir.Table, ir.Table]:
    """Clean a visual search log and choose the rows that make pairs.

    Args:
        workspace: the engine.
        log: the pairs as the contract gives them.
        items: the good items.
        rejects: takes the bad rows.
        progress: told about the images checked.
        action: the action that makes a pair, "click" or "purchase".
        before: rows with an earlier timestamp train; None: all do.
        later: whether rows from then on are kept too.

    Returns:
        The good rows of that action (`ROW, item_id, trains`, perhaps `user_id`), and their query images (`ROW, image`).

    Raises:
        DataError: no row is left that trains.
    """
    rows = _with_category(log.rows, items)
    cases = [
        (rows.category.isnull(), Reason.UNKNOWN_ITEM),
        (_is_unknown(rows.action), Reason.UNKNOWN_ACTION),
    ]
    if "timestamp" in rows.columns:
        cases.append((rows.timestamp.isnull(), Reason.MISSING_TIMESTAMP))
    good = rejects.part(log.source, _judged(workspace, log.source, rows, cases))
    good = _of_action(workspace, log.source, good, action, before)
    if not later:
        good = good.filter(good.trains)
    images = _checked_images(workspace, log.source, good, "query_image", Reason.UNDECODABLE_QUERY_IMAGE, progress)
    good = rejects.part(log.source, workspace.keep(good.inner_join(images.select(ROW, REASON), ROW)))
    rejects.check_some_left(log.source, workspace.count(good.filter(good.trains)))
    kept = [name for name in (ROW, "user_id", "item_id", "trains") if name in good.columns]
    return good.select(*kept), images.select(ROW, IMAGE)


def _judged(workspace: Workspace, source: Source, rows: ir.Table, cases: Sequence[Case]) -> ir.Table:
    """Read the rows once and keep them, with the first case that holds as the `REASON`."""
    with reading(source.setting, source.path):
        return workspace.keep(rows.mutate(**{REASON: first_reason(*cases)}))


def _with_images(judged: ir.Table, images: ir.Table) -> ir.Table:
    """Add the reasons of images to the rows that had none."""
    of_images = images.select(ROW, of_image=REASON)
    rows = judged.left_join(of_images, ROW).select(*judged.columns, "of_image")
    return rows.mutate(**{REASON: rows[REASON].coalesce(rows.of_image)}).drop("of_image")


def _without_duplicates(judged: ir.Table) -> ir.Table:
    """Judge good rows after the first one of an id."""
    # Bad rows are each alone: many may have no id, and those of an id are one task's.
    rows = judged.mutate(bad_row=ibis.ifelse(judged[REASON].isnull(), ibis.null("int64"), judged[ROW]))
    again = ibis.row_number().over(ibis.window(group_by=["item_id", "bad_row"], order_by=ROW))
    rows = rows.mutate(again=again)
    reason = ibis.ifelse(rows.again > 0, str(Reason.DUPLICATE_ITEM_ID), rows[REASON])
    return rows.mutate(**{REASON: reason}).drop("bad_row", "again")


def _checked_images(
    workspace: Workspace, source: Source, wanted: ir.Table, name: str, undecodable: Reason, progress: Progress
) -> ir.Table:
    """Check the images of the wanted rows once and keep them, wherever they came from."""
    column = name if name in source.columns else f"{name}_path"
    rows = source.table.semi_join(wanted, ROW).select(ROW, column)
    check = ImageCheck(ImageFolder(source.filesystem, source.folder), undecodable)
    with reading(source.setting, source.path):
        return workspace.map_batches(
            rows, check, CHECKED_IMAGES, at_once=_IMAGES_PER_BATCH, progress=partial(progress, f"check {name}s")
        )


def _of_action(workspace: Workspace, source: Source, rows: ir.Table, action: str, before: int | None) -> ir.Table:
    """The rows of one action, and whether they train."""
    timed = "timestamp" in rows.columns
    if before is not None and not timed:
        raise DataError(
            f"`{source.setting}` must have the column timestamp where `data.validation_from` is set, or what was "
            f"chosen in the validation period would train. Received: {source.path}."
        )
    of_action = rows.filter(rows.action == action)
    trains = ibis.literal(True) if before is None else of_action.timestamp < before
    of_action = of_action.mutate(trains=trains)
    if workspace.count(of_action.filter(of_action.trains)) == 0:
        until = f" before `data.validation_from`, {readable(before)}" if before is not None else ""
        actions = ", ".join(rows.select("action").distinct().order_by("action").to_pyarrow()["action"].to_pylist())
        seen = f"the actions {actions}" + (f" and {span(rows)}" if timed else "")
        raise DataError(
            f"`{source.setting}` must hold rows with the action {action} (`data.pairs_action`){until}. "
            f"Received: {source.path}, with {seen}."
        )
    return of_action


def _with_category(rows: ir.Table, items: ir.Table) -> ir.Table:
    """Add the category of each row's item, null where the item is not known."""
    return rows.left_join(items.select("item_id", "category"), "item_id").select(*rows.columns, "category")


def _is_unknown(action: ir.Column) -> ir.Value:
    return action.isnull() | action.notin(ACTIONS)


def _is_reserved(item_id: ir.Column) -> ir.Value:
    return item_id == "" if item_id.type().is_string() else item_id.isin(_RESERVED)
