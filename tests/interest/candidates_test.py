"""What every user behaviour model makes of many candidates of one user; a new one of `UBMS` is asked too."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from mim_tf.interest import BST, DIN, SIM, TWIN, UBMS
from mim_tf.interest.candidates import fold, repeat, unfold
from mim_tf.interest.ciubm import call_arguments

pytestmark = pytest.mark.both_kerases
USERS, CANDIDATES, LENGTH, DIM = 3, 5, 7, 4
# Searches that leave some out, networks of other kinds, more blocks.
VARIANTS: dict[str, Callable[..., Any]] = {
    **UBMS,
    "bst deep": lambda **kwargs: BST(heads=2, blocks=2, **kwargs),
    "bst alone": lambda **kwargs: BST(time_dim=0, **kwargs),
    "din linear": lambda **kwargs: DIN((), **kwargs),
    "din sigmoid": lambda **kwargs: DIN((6, 3), "sigmoid", **kwargs),
    "sim hard": lambda **kwargs: SIM("hard", top_k=2, **kwargs),
    "sim of two": lambda **kwargs: SIM(top_k=2, **kwargs),
    "twin alone": lambda **kwargs: TWIN(time_dim=0, category_dim=0, **kwargs),
    "twin of two": lambda **kwargs: TWIN(top_k=2, **kwargs),
}
EACH = pytest.mark.parametrize(
    "name", [name if name in UBMS else pytest.param(name, marks=pytest.mark.slow) for name in sorted(VARIANTS)]
)
Inputs = dict[str, np.ndarray]


def made(name: str, dtype: str) -> Any:
    """A model with weights that no initialiser gives."""
    layer = VARIANTS[name](dtype=dtype)
    layer.build((None, DIM))
    rng = np.random.default_rng(1)
    layer.set_weights([rng.uniform(0.1, 1.0, weight.shape) - 0.5 for weight in layer.get_weights()])
    for dice in getattr(layer, "dices", []):
        dice.moving_variance.assign(rng.uniform(0.5, 2.0, dice.moving_variance.shape))
    return layer


def drawn(layer: Any, candidates: int = CANDIDATES, length: int = LENGTH, dtype: str = "float64") -> Inputs:
    """Users with no behaviour, some and all; padding holds NaN."""
    rng = np.random.default_rng(2)
    mask = rng.random((USERS, length)) < np.array([[0.0], [0.6], [1.0]])
    history = np.where(mask[..., np.newaxis], rng.normal(size=(USERS, length, DIM)), np.nan)
    details = {
        "time_gaps": np.floor(2 ** rng.uniform(-1, 34, (USERS, length))),
        "same_category": rng.random((USERS, candidates, length)) < 0.5,
        "shown": rng.random((USERS, candidates)) < 0.7,
    }
    return {
        "target": rng.normal(size=(USERS, candidates, DIM)).astype(dtype),
        "history": history.astype(dtype),
        "mask": mask,
        **{name: details[name] for name in call_arguments(layer)},
    }


def folded(inputs: Inputs) -> Inputs:
    """Every candidate as a user of its own, with a copy of the history."""
    candidates = inputs["target"].shape[1]
    rows = {}
    for name, value in inputs.items():
        of_candidates = name in ("target", "same_category", "shown")
        flat = USERS * candidates, *value.shape[2:]
        rows[name] = value.reshape(flat) if of_candidates else np.repeat(value, candidates, axis=0)
    return rows


def one_by_one(layer: Any, inputs: Inputs) -> np.ndarray:
    """The interests of single targets."""
    interests = np.asarray(layer(**folded(inputs)))
    return interests.reshape(*inputs["target"].shape[:2], interests.shape[-1])


@EACH
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-13), ("float32", 2e-6)])
def test_each_candidate_is_what_it_is_alone(name: str, dtype: str, tolerance: float) -> None:
    layer = made(name, dtype)
    inputs = drawn(layer, dtype=dtype)
    expected = one_by_one(layer, inputs)
    output = layer(**inputs)
    assert tuple(output.shape) == expected.shape
    np.testing.assert_allclose(output, expected, rtol=0, atol=tolerance * np.abs(expected).max())
    assert not np.any(output[0])
    # They are not all the same: only the average does not look at the target.
    assert (np.ptp(expected[1:], axis=1).max() > 1e-3) == (name != "average")


@EACH
def test_without_mask_and_details(name: str) -> None:
    layer = made(name, "float64")
    inputs = drawn(layer)
    inputs = {"target": inputs["target"], "history": np.nan_to_num(inputs["history"], nan=0.5)}
    if name == "sim hard":
        inputs["same_category"] = drawn(layer)["same_category"]
    expected = one_by_one(layer, inputs)
    np.testing.assert_allclose(layer(**inputs), expected, rtol=0, atol=1e-13 * np.abs(expected).max())


@EACH
def test_unknown_sizes_in_one_graph(name: str) -> None:
    layer = made(name, "float64")
    specs = {
        name: tf.TensorSpec([None, None, DIM] if name in ("target", "history") else [None] * value.ndim, value.dtype)
        for name, value in drawn(layer).items()
    }
    traced = tf.function(lambda arguments: layer(**arguments), input_signature=[specs])
    assert traced.get_concrete_function().structured_outputs.shape[-1] is not None
    for candidates, length in [(CANDIDATES, LENGTH), (1, LENGTH), (CANDIDATES, 1), (2, 0), (0, LENGTH)]:
        inputs = drawn(layer, candidates, length)
        expected = one_by_one(layer, inputs)
        output = traced(inputs)
        assert tuple(output.shape) == expected.shape
        np.testing.assert_allclose(output, expected, rtol=0, atol=1e-13 * np.abs(expected).max(initial=1))


@EACH
def test_gradients_are_the_sums_of_those_of_single_targets(name: str) -> None:
    layer = made(name, "float64")
    inputs = drawn(layer)
    inputs["history"] = np.nan_to_num(inputs["history"], nan=9.0)

    def gradients(inputs: Inputs) -> list[np.ndarray]:
        sources = {name: tf.constant(inputs[name]) for name in ("target", "history")}
        with tf.GradientTape() as tape:
            tape.watch(sources)
            total = tf.reduce_sum(tf.sin(layer(**{**inputs, **sources})))
        of = [sources["target"], sources["history"], *layer.trainable_variables]
        found = tape.gradient(total, of, unconnected_gradients="zero")
        return [np.asarray(tf.convert_to_tensor(gradient)) for gradient in found]

    by_target, by_history, *by_weights = gradients(folded(inputs))
    expected = [
        by_target.reshape(inputs["target"].shape),
        by_history.reshape(USERS, CANDIDATES, LENGTH, DIM).sum(axis=1),
        *by_weights,
    ]
    assert np.abs(expected[1]).max() > 1e-3
    for gradient, of_singles in zip(gradients(inputs), expected, strict=True):
        np.testing.assert_allclose(gradient, of_singles, rtol=0, atol=1e-12 * np.abs(of_singles).max(initial=1))


@EACH
@pytest.mark.parametrize(("policy", "tolerance"), [("mixed_float16", 1e-2), ("mixed_bfloat16", 8e-2)])
def test_half_precision(name: str, policy: str, tolerance: float) -> None:
    layer = made(name, policy)
    inputs = drawn(layer, dtype="float32")
    expected = made(name, "float32")(**inputs)
    output = layer(**inputs)
    assert output.dtype == policy.removeprefix("mixed_")
    scale = np.abs(expected).max()
    np.testing.assert_allclose(tf.cast(output, tf.float32), expected, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("name", ["average", "bst", "bst alone", "sim", "sim hard", "twin"])
def test_no_tensor_has_candidates_length_and_dim(name: str) -> None:
    candidates, length, dim = 500, 50, 48
    layer = VARIANTS[name]()
    shapes = {
        "target": [1, candidates, dim],
        "history": [1, length, dim],
        "mask": [1, length],
        "time_gaps": [1, length],
        "same_category": [1, candidates, length],
    }
    dtypes = {"mask": tf.bool, "same_category": tf.bool}
    arguments = {"target", "history", "mask"} | call_arguments(layer)
    specs = {argument: tf.TensorSpec(shapes[argument], dtypes.get(argument, tf.float32)) for argument in arguments}
    graph = tf.function(lambda inputs: layer(**inputs)).get_concrete_function(specs).graph
    sizes = [tensor.shape.num_elements() or 0 for op in graph.get_operations() for tensor in op.outputs]
    # Scores and queries of eight heads: 500 * 8 * 51 and 500 * 8 * 56 numbers; of all three: 500 * 50 * 48.
    assert candidates * dim <= max(sizes) < candidates * length * dim / 5


def test_folding_by_hand() -> None:
    targets = tf.constant([[[1], [2], [3]], [[4], [5], [6]]])
    np.testing.assert_array_equal(fold(targets), [[1], [2], [3], [4], [5], [6]])
    np.testing.assert_array_equal(repeat(tf.constant([[7, 8], [9, 0]]), targets), [[7, 8]] * 3 + [[9, 0]] * 3)
    np.testing.assert_array_equal(unfold(fold(targets), targets), targets)
    np.testing.assert_array_equal(repeat(tf.constant([7, 9]), targets[:, :1]), [7, 9])
