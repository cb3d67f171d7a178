"""What every metric asks of its arrays."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
Bools = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]


class Numbered(NamedTuple):
    """Groups of impressions, counted from 0 in the order of their names.

    Attributes:
        names: `[G]`, each group's name, sorted.
        numbers: `[impressions]`, each impression's group from 0 to G - 1.
        sizes: `[G]`, how many impressions each has.
    """

    names: npt.NDArray
    numbers: Integers
    sizes: Integers


def binary_labels(labels: npt.ArrayLike) -> Bools:
    """Return the labels as bools.

    Raises:
        ValueError: if there are none, they are not one-dimensional, or one is neither 0 nor 1.
    """
    array = np.asarray(labels)
    if array.ndim != 1 or not array.size:
        raise ValueError(f"`labels` must be one-dimensional and not empty. Received: shape {array.shape}.")
    strange = array[(array != 0) & (array != 1)]
    if strange.size:
        raise ValueError(f"`labels` must be 0 or 1. Received: {strange[0]}, and {strange.size} such in all.")
    return array == 1


def check_both_classes(clicked: Bools) -> None:
    """Check that there is something to rank.

    Raises:
        ValueError: if all labels are the same.
    """
    if clicked.all() or not clicked.any():
        raise ValueError(f"`labels` must hold both 0 and 1. Received: {clicked.size} labels, all {int(clicked[0])}.")


def ordered_scores(scores: npt.ArrayLike, clicked: Bools, name: str = "scores") -> Floats:
    """Return the scores as an array that can be ordered, one score per label.

    Raises:
        ValueError: if the lengths differ, or a score is NaN.
    """
    array = np.asarray(scores)
    if array.shape != clicked.shape:
        raise ValueError(
            f"`{name}` must have the shape of `labels`. Received: shapes {array.shape} and {clicked.shape}."
        )
    if not np.issubdtype(array.dtype, np.floating):
        array = array.astype(np.float64)
    nans = int(np.isnan(array).sum())
    if nans:
        raise ValueError(f"`{name}` must not be NaN. Received: {nans} NaN of {array.size}.")
    return array


def probabilities_of(probabilities: npt.ArrayLike, clicked: Bools, name: str = "probabilities") -> Floats:
    """Return the probabilities as an array, one per label.

    Raises:
        ValueError: if the lengths differ, or one is NaN or outside [0, 1].
    """
    array = ordered_scores(probabilities, clicked, name)
    if array.min() < 0 or array.max() > 1:
        raise ValueError(f"`{name}` must be in [0, 1]. Received: from {array.min()} to {array.max()}.")
    return array


def numbered(groups: npt.ArrayLike, clicked: Bools, name: str = "groups") -> Numbered:
    """Return the groups by number, one group per label.

    Raises:
        ValueError: if the lengths differ.
        TypeError: if names of several kinds, strings and None say, cannot be told apart by sorting.
    """
    names = np.asarray(groups)
    if names.shape != clicked.shape:
        raise ValueError(
            f"`{name}` must have the shape of `labels`. Received: shapes {names.shape} and {clicked.shape}."
        )
    try:
        return Numbered(*np.unique(names, return_inverse=True, return_counts=True))
    except TypeError as error:
        kinds = ", ".join(sorted({type(one).__name__ for one in names.tolist()}))
        raise TypeError(f"`{name}` must be integers, bytes or strings, one kind of them. Received: {kinds}.") from error
