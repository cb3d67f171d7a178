"""`python -m mim_tf.representation`: look into an embedding store, and keep it small."""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta

from mim_tf.commandline import run_command
from mim_tf.errors import SettingsError
from mim_tf.representation.command_line import representation_parser
from mim_tf.representation.compaction import compact_store
from mim_tf.representation.difference import difference_of
from mim_tf.representation.inspection import inspect_store
from mim_tf.representation.neighbours import neighbours_of
from mim_tf.representation.reports import compaction_text, difference_text, inspection_text, neighbours_text
from mim_tf.representation.store import EmbeddingStore
from mim_tf.representation.store_records import ID_TYPES
from mim_tf.representation.titles import titles_of

_UNITS = {"d": "days", "h": "hours", "m": "minutes"}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command that the arguments name; by default those of the process."""
    chosen = representation_parser().parse_args(arguments)
    _COMMANDS[chosen.command](chosen)


def _inspect(chosen: argparse.Namespace) -> None:
    store = EmbeddingStore(chosen.store)
    if chosen.shards is not None and not 1 <= chosen.shards <= store.slots:
        raise SettingsError(f"--shards must be 1 to {store.slots}, the store's slots. Received: {chosen.shards}.")
    found = inspect_store(store, chosen.shards)
    print(json.dumps(asdict(found)) if chosen.json else inspection_text(found))


def _diff(chosen: argparse.Namespace) -> None:
    _check_at_least("--show", chosen.show, 0)
    if chosen.to is not None:
        _check_at_least("--to", chosen.to, chosen.since)
    found = difference_of(EmbeddingStore(chosen.store), chosen.since, chosen.to, shown=chosen.show)
    print(json.dumps(asdict(found)) if chosen.json else difference_text(found))


def _compact(chosen: argparse.Namespace) -> None:
    if chosen.keep is not None:
        _check_at_least("--keep", chosen.keep, 1)
    older_than = None if chosen.older_than is None else _duration("--older-than", chosen.older_than)
    store = EmbeddingStore(chosen.store)
    print(compaction_text(compact_store(store, chosen.untag, keep_versions=chosen.keep, older_than=older_than)))


def _neighbours(chosen: argparse.Namespace) -> None:
    _check_at_least("--count", chosen.count, 1)
    store = EmbeddingStore(chosen.store)
    item_id = _item_id(store, chosen.item)
    neighbours = neighbours_of(store, item_id, chosen.count)
    named = [item_id, *(neighbour.item_id for neighbour in neighbours)]
    titles = titles_of(chosen.titles, named, ID_TYPES[store.id_type]) if chosen.titles else {}
    print(neighbours_text(item_id, neighbours, titles))


_COMMANDS = {"inspect": _inspect, "diff": _diff, "compact": _compact, "neighbours": _neighbours}


def _check_at_least(option: str, value: int, least: int) -> None:
    if value < least:
        raise SettingsError(f"{option} must be at least {least}. Received: {value}.")


def _duration(option: str, text: str) -> timedelta:
    """How long `7d` and the like are."""
    parts = re.fullmatch(r"(\d{1,5})([dhm])", text, re.ASCII)
    if not parts or not int(parts[1]):
        raise SettingsError(
            f"{option} must be a number from 1 to 99999 and d (days), h (hours) or m (minutes), as in 7d. "
            f"Received: {text}."
        )
    return timedelta(**{_UNITS[parts[2]]: int(parts[1])})


def _item_id(store: EmbeddingStore, text: str) -> int | str:
    """An id as the store has them."""
    if store.id_type == "string":
        return text
    try:
        return int(text)
    except ValueError:
        raise SettingsError(f"--item must be an integer, as all ids of this store are. Received: {text}.") from None


if __name__ == "__main__":
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # a look at a store takes no memory from who trains on the GPUs
    run_command(main)
