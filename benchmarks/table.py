"""What the in-graph table costs: look-ups beside a plain gather, building, saving, loading, memory, precision.

    .venv/bin/python -m benchmarks.table                  # 10^6 items of 128 dimensions
    .venv/bin/python -m benchmarks.table 16160000 128     # the paper's catalogue: 10 GB of memory, 8 GB of disk

Ids are random int64, asked for uniformly, which is the worst case for caches. Look-ups and gathers are taken in turns,
each with ids of its own, so that neither finds the other's rows in a cache. Memory is that of a process that loads the
SavedModel and looks up, less what it had before, over the bytes of the items' rows.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from statistics import median

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf

from mim_tf.representation import EmbeddingTable
from mim_tf.representation.row_precision import ROW_DTYPES, cosine_errors

BATCH = 50_000
TURNS = 60
CLUSTERS, SPREAD = 1000, 0.3  # clustered rows: a centre, and this much of noise


def main(items: int, dim: int) -> None:
    """Print all of it."""
    print(f"{items:,} items of {dim} dimensions, look-ups of {BATCH:,} ids\n")
    print("rows     build s  save s  load s  loaded / rows  peak / rows  gather ms  look-up ms  rate")
    for dtype in ROW_DTYPES:
        print(measured(items, dim, dtype), flush=True)
    print("\n1 - cos of a row and what is kept of it: mean, largest")
    for name, rows in {"normalised Gaussian": gaussian(100_000, dim), "clustered": clustered(100_000, dim)}.items():
        for dtype in ROW_DTYPES:
            errors = cosine_errors(rows, dtype)
            print(f"{name:20} {dtype:8} {errors.mean():.1e} {errors.max():.1e}")


def measured(items: int, dim: int, dtype: str) -> str:
    """A line of the table."""
    rng = np.random.default_rng(0)
    ids = rng.permutation(items) * np.int64(2**62 // items) + rng.integers(0, 2**62 // items, items)
    embeddings = gaussian(items, dim).astype(np.float16)
    begin = time.perf_counter()
    table = EmbeddingTable(ids, embeddings, dtype=dtype)
    built = time.perf_counter() - begin
    del embeddings
    gather, look_up = (1e3 * seconds for seconds in raced(table, ids))
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        save(table, folder)
        saved = time.perf_counter() - begin
        del table
        loaded, now, peak = loaded_alone(folder, ids[:BATCH])
    row_bytes = items * (dim * 2 if dtype == "float16" else dim + 4)
    return (
        f"{dtype:8} {built:7.1f} {saved:7.1f} {loaded:7.1f} {now / row_bytes:14.3f} {peak / row_bytes:12.3f} "
        f"{gather:10.2f} {look_up:11.2f} {gather / look_up:5.2f}"
    )


def raced(table: EmbeddingTable, ids: np.ndarray) -> tuple[float, float]:
    """Median seconds of a gather from the table's rows, in the type they are kept in, and of a look-up."""
    rng = np.random.default_rng(1)
    gather = tf.function(lambda rows: tf.gather(table._rows, rows))
    look_up = tf.function(table.lookup)
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(TURNS + 5):
        rows, items = (rng.integers(0, len(ids), BATCH) for _ in range(2))
        seconds[0].append(_seconds(gather, tf.constant(rows.astype(np.int32))))
        seconds[1].append(_seconds(look_up, tf.constant(ids[items])))
    return median(seconds[0][5:]), median(seconds[1][5:])  # the first ones trace and warm up


def _seconds(function: Callable[[tf.Tensor], tf.Tensor], argument: tf.Tensor) -> float:
    begin = time.perf_counter()
    function(argument)
    return time.perf_counter() - begin


def save(table: EmbeddingTable, folder: str) -> None:
    """As a SavedModel with the signature `lookup`."""
    holder = tf.Module()
    holder.table = table
    lookup = tf.function(table.lookup, input_signature=[tf.TensorSpec([None], table.id_dtype)])
    tf.saved_model.save(holder, folder, signatures=lookup)


def loaded_alone(folder: str, ids: np.ndarray) -> tuple[float, float, float]:
    """Seconds to load, then bytes held and the most ever held, in a process of its own."""
    np.save(f"{folder}/ids.npy", ids)
    command = [sys.executable, "-m", "benchmarks.table", "load", folder]
    loaded, now, peak = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return float(loaded), float(now), float(peak)


def load(folder: str) -> None:
    """Print what `loaded_alone` returns."""
    ids = tf.constant(np.load(f"{folder}/ids.npy"))
    save(EmbeddingTable(np.arange(10), np.ones([10, 2])), f"{folder}/small")
    tf.saved_model.load(f"{folder}/small").signatures["serving_default"](ids)  # what TensorFlow itself takes
    before, begin = memory("VmRSS"), time.perf_counter()
    lookup = tf.saved_model.load(folder).signatures["serving_default"]
    loaded = time.perf_counter() - begin
    lookup(ids[:10])
    print(loaded, memory("VmRSS") - before, memory("VmHWM") - before)


def memory(field: str) -> int:
    """Bytes of memory that this process holds (`VmRSS`), or the most it ever held (`VmHWM`)."""
    with open("/proc/self/status", encoding="ascii") as lines:
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith(field))


def gaussian(items: int, dim: int) -> np.ndarray:
    """Normalised rows `[items, dim]` float32."""
    return _normalised(np.random.default_rng(2).standard_normal([items, dim], np.float32))


def clustered(items: int, dim: int) -> np.ndarray:
    """Normalised rows around common centres, `[items, dim]` float32."""
    centres = gaussian(CLUSTERS, dim)[np.random.default_rng(3).integers(0, CLUSTERS, items)]
    return _normalised(centres + SPREAD * gaussian(items, dim))


def _normalised(rows: np.ndarray) -> np.ndarray:
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


if __name__ == "__main__":
    if sys.argv[1:2] == ["load"]:
        load(sys.argv[2])
    else:
        main(*map(int, sys.argv[1:3] or (1_000_000, 128)))
