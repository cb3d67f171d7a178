"""Gradients of an objective over a batch: in one piece or, for contrastive ones, chunk by chunk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

Batch = dict[str, tf.Tensor]
Gradients = list[tf.Tensor]
Scalars = dict[str, tf.Tensor]


def gradients_of(objective: Any, batch: Batch) -> tuple[Gradients, Scalars]:
    """Gradients for the variables that learn, and the scalars of `objective.losses_of(batch)`."""
    variables = _learning(objective)
    with tf.GradientTape() as tape:
        scalars = objective.losses_of(batch)
    return _gradients(tape, scalars["loss"], variables), scalars


def cached_gradients_of(objective: Any, batch: Batch, chunk_size: int) -> tuple[Gradients, Scalars]:
    """The same as `gradients_of`, with the activations of one chunk at a time.

    `L(f(x))` needs the embeddings `h = f(x)` of the whole batch at once, but not the activations behind them:

    1. embed chunk by chunk and keep `h` alone,
    2. `dL/dh`, from the whole batch's embeddings and all replicas',
    3. embed chunk by chunk again, each time adding `dL/dh_chunk dh_chunk/dw`.

    The price is a second forward pass. Batch normalisation sees chunks in place of the batch.

    Args:
        objective: has `embed(batch, training)` to `[rows, embeddings, dim]` float32, of which row `i` depends on row
            `i` of the batch alone, and `contrast(embeddings, batch)`.
        batch: tensors of as many rows each.
        chunk_size: rows per chunk; the batch is made of whole ones.

    Reference: Gao et al., Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup (arXiv 2101.06983).
    """
    variables = _learning(objective)
    chunks = {name: _chunked(rows, chunk_size) for name, rows in batch.items()}
    count = next(iter(batch.values())).shape[0] // chunk_size

    def embed(index: tf.Tensor) -> tf.Tensor:
        return objective.embed({name: rows[index] for name, rows in chunks.items()}, training=True)

    embeddings = _without_traces(objective, lambda: _each(embed, count))
    with tf.GradientTape() as tape:
        tape.watch(embeddings)
        scalars = objective.contrast(embeddings, batch)
    by_embedding, *direct = _gradients(tape, scalars["loss"], [embeddings, *variables])
    by_chunk = _chunked(by_embedding, chunk_size)

    def add(index: tf.Tensor, totals: Sequence[tf.Tensor]) -> tuple[tf.Tensor, Gradients]:
        with tf.GradientTape() as tape:
            embedded = embed(index)
        gradients = _gradients(tape, embedded, variables, by_chunk[index])
        return index + 1, [total + gradient for total, gradient in zip(totals, gradients, strict=True)]

    _, totals = tf.while_loop(lambda index, _: index < count, add, (0, direct), parallel_iterations=1)
    return list(totals), scalars


def batch_statistics(objective: Any) -> list[tf.Variable]:
    """The moving means and variances of batch normalisation, which a forward pass in training moves."""
    layers = [layer for layer in objective._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]
    return [variable.value for layer in layers for variable in (layer.moving_mean, layer.moving_variance)]


def _learning(objective: Any) -> list[tf.Variable]:
    return [variable.value for variable in objective.trainable_variables]


def _gradients(
    tape: tf.GradientTape, target: tf.Tensor, sources: list[Any], outer: tf.Tensor | None = None
) -> Gradients:
    """Dense gradients, zero where a source has no part in the target.

    Those of embedding matrices come as rows, some of them more than once: their norm would be wrong.
    """
    gradients = tape.gradient(target, sources, output_gradients=outer, unconnected_gradients="zero")
    return [tf.convert_to_tensor(gradient) for gradient in gradients]


def _chunked(rows: tf.Tensor, chunk_size: int) -> tf.Tensor:
    return tf.reshape(rows, [-1, chunk_size, *rows.shape[1:]])


def _each(embed: Any, count: int) -> tf.Tensor:
    """The embeddings of all chunks, one chunk after the other, `[rows, embeddings, dim]`."""
    embeddings = tf.map_fn(embed, tf.range(count), parallel_iterations=1, fn_output_signature=tf.float32)
    return tf.reshape(embeddings, [-1, *embeddings.shape[2:]])


def _without_traces(objective: keras.Model, compute: Any) -> tf.Tensor:
    """Undo what a forward pass does to the statistics of batch normalisation; the next one does it again."""
    statistics = batch_statistics(objective)
    before = [tf.identity(variable) for variable in statistics]
    with tf.control_dependencies(before):
        result = compute()
    with tf.control_dependencies([result]):
        for variable, value in zip(statistics, before, strict=True):
            variable.assign(value)
    return result
