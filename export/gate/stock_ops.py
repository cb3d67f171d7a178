"""The check that a server which has stock TensorFlow has every op of a graph."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection

from mim_tf.export.gate.saved_graph import SavedGraph

_PLACES = 3  # named per op


def foreign_ops(graph: SavedGraph, registered: Collection[str]) -> list[str]:
    """What is wrong with the ops of a graph and of its functions, those that are never called included.

    Args:
        graph: to look through.
        registered: the ops that a server has. They come from a process of their own, best the C++ program: in this one,
            any library that was imported may have registered more, and TensorFlow's Python brings a hundred for tests.

    Returns:
        A sentence per op that is not registered, with where it is used.
    """
    known, places = frozenset(registered) | graph.functions, defaultdict(list)
    for place, node in graph.nodes():
        if node.op not in known:
            places[node.op].append(place)
    return [f"{op} is no op of stock TensorFlow: {_shortened(used)}" for op, used in sorted(places.items())]


def _shortened(places: list[str]) -> str:
    more = len(places) - _PLACES
    return ", ".join(places[:_PLACES]) + (f" and {more} more" if more > 0 else "")
