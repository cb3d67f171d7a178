"""Requests that are run as one: joined along the first dimension, and their answers parted again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import tensorflow as tf

Tensors: TypeAlias = Mapping[str, tf.Tensor]


def rows_of(tensors: Tensors) -> int:
    """Returns how many rows a request has.

    Raises:
        tf.errors.InvalidArgumentError: If it has no tensor, a scalar, or tensors of different numbers of rows, in the
            words of TF Serving.
    """
    if not tensors:
        raise _invalid("Batching Run() must have at least one input tensor")
    if any(tensor.shape.rank == 0 for tensor in tensors.values()):
        raise _invalid("Batching Run() input tensors must have at least one dimension")
    rows, *others = {tensor.shape[0] for tensor in tensors.values()}
    if others:
        raise _invalid("Batching Run() input tensors must have equal 0th-dimension size")
    return int(rows)


def join(requests: Sequence[Tensors], rows: int) -> Tensors:
    """Puts the rows of requests below each other.

    Args:
        requests: Each with the same names, and under a name the same dimensions but the first.
        rows: How many there are to be: those missing repeat the last request's first row.
    """
    missing = rows - sum(rows_of(request) for request in requests)
    filling = {name: tf.repeat(tensor[:1], missing, axis=0) for name, tensor in requests[-1].items()}
    return {name: tf.concat([*(request[name] for request in requests), filling[name]], axis=0) for name in filling}


def part(outputs: Tensors, sizes: Sequence[int], rows: int) -> list[Tensors]:
    """Undoes `join` in what came of it.

    Args:
        outputs: Of the joined run.
        sizes: How many rows each request had.
        rows: How many they were made.

    Returns:
        The outputs of each request.

    Raises:
        tf.errors.FailedPreconditionError: If an output has not a row for each row.
    """
    if any(tensor.shape.rank == 0 or tensor.shape[0] != rows for tensor in outputs.values()):
        message = "Batched output tensor's 0th dimension does not equal the sum of the input tensors'"
        raise tf.errors.FailedPreconditionError(None, None, message)
    lengths = [*sizes, rows - sum(sizes)]
    parted = {name: tf.split(tensor, lengths, axis=0) for name, tensor in outputs.items()}
    return [{name: parts[number] for name, parts in parted.items()} for number in range(len(sizes))]


def pad(requests: Sequence[Tensors]) -> list[Tensors]:
    """Makes the dimensions of requests, but for the first, as long as the longest of them.

    As TF Serving does it, with the first element of each tensor: whoever asks for it must have a model that does not
    mind.

    Raises:
        tf.errors.InvalidArgumentError: If a tensor that is to be padded has no element.
    """
    names = list(requests[0])
    longest = {
        name: [max(sizes) for sizes in zip(*(request[name].shape.as_list() for request in requests), strict=True)]
        for name in names
    }
    return [{name: _pad(request[name], longest[name]) for name in names} for request in requests]


def _pad(tensor: tf.Tensor, longest: Sequence[int]) -> tf.Tensor:
    missing = [[0, 0], *([0, size - had] for size, had in zip(longest[1:], tensor.shape[1:], strict=True))]
    if not any(after for _, after in missing):
        return tensor
    if not tf.size(tensor):
        raise _invalid("Got empty tensor in batch of non-empty tensors")
    return tf.pad(tensor, missing, constant_values=tf.reshape(tensor, [-1])[0])


def _invalid(message: str) -> tf.errors.InvalidArgumentError:
    return tf.errors.InvalidArgumentError(None, None, message)
