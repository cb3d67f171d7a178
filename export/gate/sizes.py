"""How large a SavedModel's parts are, and the check that they are where they belong."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from mim_tf.export.gate.saved_graph import SavedGraph

_FILES = frozenset({"saved_model.pb", "fingerprint.pb"})
_FOLDERS = frozenset({"variables", "assets", "assets.extra"})
_SHARD = re.compile(r"variables\.data-(\d{5})-of-(\d{5})")


class Sizes(NamedTuple):
    """Bytes of a SavedModel's parts on disk, and how many nodes its graph and functions have."""

    graph: int
    variables: int
    assets: int
    nodes: int

    @classmethod
    def of(cls, folder: Path, graph: SavedGraph) -> Sizes:
        """Of the model in `folder`; assets are those of the graph and the extra ones."""
        assets = _bytes(folder / "assets") + _bytes(folder / "assets.extra")
        nodes = sum(1 for _ in graph.nodes())
        return cls((folder / "saved_model.pb").stat().st_size, _bytes(folder / "variables"), assets, nodes)


def misplaced(folder: Path, graph: SavedGraph, *, largest_constant: int, largest_graph: int) -> list[str]:
    """What is wrong with the sizes and files of the SavedModel in `folder`.

    Args:
        folder: of the model. Variables are counted, not read.
        graph: of the model.
        largest_constant: bytes that a node of the graph may have: what is larger belongs into variables or assets.
        largest_graph: bytes that saved_model.pb may have; none can be read beyond 2 GB.

    Returns:
        A sentence per thing that is wrong.
    """
    wrong = [
        f"{place} ({node.op}) has {node.ByteSize()} bytes, more than {largest_constant}"
        for place, node in graph.nodes()
        if node.ByteSize() > largest_constant
    ]
    size = (folder / "saved_model.pb").stat().st_size
    if size > largest_graph:
        wrong.append(f"saved_model.pb has {size} bytes, more than {largest_graph}")
    return [*wrong, *_variables(folder / "variables"), *_strangers(folder), *_paths(graph)]


def _variables(folder: Path) -> Iterator[str]:
    """An index without its data would do until a request reads it."""
    if not (folder / "variables.index").is_file():
        yield "variables/variables.index is missing"
        return
    shards = [match for path in folder.iterdir() if (match := _SHARD.fullmatch(path.name))]
    totals = {int(match[2]) for match in shards}
    there = {int(match[1]) for match in shards}
    if len(totals) != 1 or there != set(range(*totals)):
        found = ", ".join(sorted(match[0] for match in shards)) or "none"
        yield f"variables/ must hold the data files 0 to n - 1 of n. Received: {found}"
        return
    size, least = sum((folder / match[0]).stat().st_size for match in shards), _least_bytes(folder / "variables")
    if size < least:
        yield f"variables/ must hold at least {least} bytes of data. Received: {size}"


def _least_bytes(prefix: Path) -> int:
    """What the numbers alone take that the index lists; strings have no fixed size."""
    checkpoint = tf.train.load_checkpoint(str(prefix))
    dtypes = checkpoint.get_variable_to_dtype_map()
    return sum(
        int(np.prod(shape, dtype=np.int64)) * dtypes[name].size
        for name, shape in checkpoint.get_variable_to_shape_map().items()
        if dtypes[name] != tf.string
    )


def _strangers(folder: Path) -> Iterator[str]:
    """What no server looks at, and what lies elsewhere: a copy of the folder must be the whole model."""
    for path in sorted(folder.iterdir()):
        known = path.name in (_FOLDERS if path.is_dir() else _FILES)
        if not known:
            yield f"{path.name} is no part of a SavedModel"
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            yield f"{path.relative_to(folder)} is a link to {path.readlink()}"


def _paths(graph: SavedGraph) -> Iterator[str]:
    """Files that the graph names where they lie, which a server has not. What is saved as an asset has no path."""
    for place, node in graph.nodes():
        texts = node.attr["value"].tensor.string_val if node.op == "Const" else ()
        for path in texts:
            if path.startswith(b"/") and os.path.isfile(path):
                yield f"{place} names {path.decode(errors='replace')}, a file outside of the model"


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
