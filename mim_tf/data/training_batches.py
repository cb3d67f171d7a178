"""Batches of examples out of records: endless and repeatable for training, few and fixed for evaluation."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from mim_tf.data.record_files import Folder, RecordFiles
from mim_tf.data.record_parser import RecordParser

Tensors = dict[str, tf.Tensor]
Decode = Callable[[Tensors], Tensors]
Assemble = Callable[[Tensors, tf.Tensor], Tensors]

# The records of an epoch are shuffled as they lie in the files, images encoded: 4,096 items of 20 kB are 80 MB per
# worker, pairs with their two images twice that. `prepare` has shuffled the files as a whole.
_SHUFFLED_AMONG = 4096
# Files read in turn. All at once, the buffer would be filled by the same records in every epoch; two of four, and a
# record meets those of its last batch again hardly more often than by chance (1.05 times with 13,694 records).
_FILES_AT_ONCE = 2
_ORDER, _CONTENT = 0, 1  # what a pipeline draws seeds for
# Batches are assembled in slices, on all cores, and only then put together: of 4,096 images of 64 pixels every copy on
# the way would be 50 MB.
_LARGEST_SLICE = 256


def training_batches(
    folder: Folder,
    name: str,
    *,
    batch_size: int,
    decode: Decode,
    assemble: Assemble,
    seed: int,
    first_batch: int = 0,
    context: tf.distribute.InputContext | None = None,
    verify: bool = True,
) -> tf.data.Dataset:
    """Endless shuffled batches, the same for the same arguments, bit for bit; those left out change no other.

    Batch `k` holds records `k * batch_size` to `(k + 1) * batch_size - 1` of the epochs, one after the other, each with
    an order of its own. So all batches are full, those across the border of two epochs too, and every record comes once
    per epoch. Batches that are left out cost no reading of epochs before; records left out of an epoch are read, but
    neither parsed nor decoded.

    Args:
        folder: what `prepare` wrote.
        name: `<kind>/<split>`: "items/train" or "pairs/train".
        batch_size: examples per batch of this pipeline. If there are fewer records, some come twice in a batch.
        decode: one parsed record to an example; runs in parallel.
        assemble: some examples of a batch, and a seed, int32 `[2]`, to as many rows of what is handed out; runs in
            parallel. What it draws, it draws from the seed.
        seed: of the order and of the batches' seeds.
        first_batch: batches to leave out, those that an interrupted training has seen.
        context: reads only this worker's share of the files; each worker draws its own seeds.
        verify: read the files once before, so that damage shows now, with the name of the file, and not hours later.

    Returns:
        The dataset.

    Raises:
        DataError: the folder holds no such records, there are more workers than files, or a file is missing, truncated
            or corrupt.
    """
    files = RecordFiles.open(folder, [name], context=context, verify=verify)
    pipeline = _derived(tf.constant([seed, 0], tf.int64), context.input_pipeline_id if context else 0)
    first_epoch, seen = divmod(first_batch * batch_size, files.records)
    among = max(_SHUFFLED_AMONG, 2 * batch_size)  # a large batch, too, is to meet other records in every epoch
    epochs = tf.data.Dataset.range(first_epoch, tf.int64.max)
    records = epochs.flat_map(lambda epoch: _shuffled(files.paths, among, _derived(pipeline, _ORDER, epoch)))
    examples = _decoded(records.skip(seen), RecordParser(files.schema, name), decode)
    slices = next(
        count for count in range(1, batch_size + 1) if batch_size % count == 0 and batch_size // count <= _LARGEST_SLICE
    )
    rows = examples.batch(batch_size // slices, drop_remainder=True).enumerate(first_batch * slices)
    return _joined(_assembled(rows, assemble, pipeline), slices, batch_size).prefetch(1)


def evaluation_batches(
    folder: Folder,
    name: str,
    *,
    batch_size: int,
    decode: Decode,
    assemble: Assemble,
    seed: int,
    most: int,
    verify: bool = True,
) -> tf.data.Dataset:
    """Batches of the first records in the order of the files, the same every time; the last may be smaller.

    `prepare` has shuffled the files, so the first records are a sample. Arguments, and errors, as in
    `training_batches`.

    Args:
        folder: what `prepare` wrote.
        name: as in `training_batches`; "items/held_out" too.
        batch_size: as in `training_batches`.
        decode: as in `training_batches`.
        assemble: as in `training_batches`.
        seed: of the batches' seeds.
        most: records to read, if there are as many.
        verify: as in `training_batches`.
    """
    files = RecordFiles.open(folder, [name], context=None, verify=verify)
    records = tf.data.TFRecordDataset(files.paths).take(most)
    examples = _decoded(records, RecordParser(files.schema, name), decode)
    batches = examples.batch(batch_size).enumerate()
    return _assembled(batches, assemble, tf.constant([seed, 0], tf.int64)).prefetch(1)


def _shuffled(paths: list[str], among: int, seed: tf.Tensor) -> tf.data.Dataset:
    """The serialized records of all files, in the order that the seed makes."""
    # `shuffle` mixes the seed of the graph, which is the program's, into its own. This is the graph of one epoch.
    tf.compat.v1.set_random_seed(1)
    order = tf.random.experimental.stateless_shuffle(tf.constant(paths), seed)
    records = tf.data.Dataset.from_tensor_slices(order).interleave(
        tf.data.TFRecordDataset, cycle_length=_FILES_AT_ONCE, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    return records.shuffle(among, seed=tf.cast(seed[0], tf.int64), reshuffle_each_iteration=False)


def _decoded(records: tf.data.Dataset, parser: RecordParser, decode: Decode) -> tf.data.Dataset:
    return records.map(
        lambda record: decode(parser.one(record)), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )


def _assembled(slices: tf.data.Dataset, assemble: Assemble, pipeline: tf.Tensor) -> tf.data.Dataset:
    """Numbered slices of examples to what training takes, each with the seed of its number."""
    return slices.map(
        lambda number, examples: assemble(examples, _derived(pipeline, _CONTENT, number)),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )


def _joined(slices: tf.data.Dataset, count: int, batch_size: int) -> tf.data.Dataset:
    """Batches of `count` slices each, of known sizes and without end, as strategies want to know."""

    def join(batch: Tensors) -> Tensors:
        return {name: _rows_of(parts, batch_size) for name, parts in batch.items()}

    batches = slices.batch(count, drop_remainder=True).map(join)
    return batches.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))


def _rows_of(parts: tf.Tensor, rows: int) -> tf.Tensor:
    """`[slices, rows of a slice, ...]` to `[rows, ...]`."""
    return tf.reshape(parts, [rows, *parts.shape[2:]])


def _derived(seed: tf.Tensor, *path: int | tf.Tensor) -> tf.Tensor:
    """A seed, int32 `[2]`, made of another one `[2]` and numbers; other numbers give one that shares no bits."""
    for number in path:
        folded = tf.random.experimental.stateless_fold_in(seed, tf.cast(number, tf.int64))
        # Folding leaves the number itself in the seed: seeds of neighbours, or sums with them, would meet.
        seed = tf.random.stateless_uniform([2], folded, minval=None, maxval=None, dtype=tf.int32)
    return seed
