"""What every public layer must do. A new package joins `PACKAGES`, a new layer `DESCRIPTORS`, or a test here fails."""

import doctest
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from mim_tf.contrastive import ConcatFusion, NegativeQueue, TensorFusion
from mim_tf.contrastive.fusion import Fusion
from mim_tf.interest import DIN, AveragePooling, CiUBM, ContentInterest, Dice, FusionInterest
from mim_tf.interest.augru import AUGRU
from mim_tf.interest.bst import BST
from mim_tf.interest.dien import DIEN
from mim_tf.interest.interest_layer import InterestLayer
from mim_tf.interest.sim import SIM
from mim_tf.interest.time_gap_embedding import TimeGapEmbedding
from mim_tf.interest.twin import TWIN
from mim_tf.ranking import BucketisedEmbedding, DeepCTR, HashedEmbedding, Standardised, VocabularyEmbedding

pytestmark = pytest.mark.both_kerases

PACKAGES = (
    "mim_tf.contrastive",
    "mim_tf.interest",
    "mim_tf.ranking.bucketised_embedding",
    "mim_tf.ranking.deep_ctr",
    "mim_tf.ranking.hashed_embedding",
    "mim_tf.ranking.standardised",
    "mim_tf.ranking.vocabulary_embedding",
)
ABSTRACT = {Fusion, InterestLayer}
# No map of rows to a tensor: negative_queue_test.py asks of it what is asked here of the others.
APART = {NegativeQueue}
Inputs = dict[str, np.ndarray]


@dataclass(frozen=True)
class Descriptor:
    """How to make one layer and its inputs.

    Attributes:
        label: name in the test report.
        make: the layer, given Keras' keyword arguments (`name`, `dtype`).
        inputs: call arguments by name, given a batch size; a fresh generator's numbers.
        sequences: arguments whose axis 1 is of unknown length and, where there is a mask, padded.
        keeps_length: whether the output has that axis too. What it holds at padding is the layer's own test's business.
        keeps_float32: whether the output is in float32 whatever the policy, as logits are.
    """

    label: str
    make: Callable[..., keras.layers.Layer]
    inputs: Callable[[int], Inputs]
    sequences: tuple[str, ...] = ()
    keeps_length: bool = False
    keeps_float32: bool = False


LENGTH, DIM, MM_DIM = 5, 4, 3
CANDIDATES = 4  # of one user; with this many, the shorter histories are summed up directly, the longer by the matrix


def arrays(batch: int, *names: str) -> Inputs:
    """Draw the named arguments; each row of the mask keeps one behaviour or more, and pads one or more."""
    rng = np.random.default_rng(7)
    shapes = {
        "target": (DIM,),
        "history": (LENGTH, DIM),
        "time_gaps": (LENGTH,),
        "same_category": (LENGTH,),
        "attention": (LENGTH,),
        "target_embedding": (MM_DIM,),
        "history_embedding": (LENGTH, MM_DIM),
        "candidates": (CANDIDATES, MM_DIM),
        "target_content": (MM_DIM,),
        "history_content": (LENGTH, MM_DIM),
        "inputs": (LENGTH, DIM),
        "image": (DIM,),
        "text": (MM_DIM,),
    }
    drawn: Inputs = {
        name: rng.normal(size=(batch, *shapes[name])).astype(np.float32) for name in names if name != "mask"
    }
    if "time_gaps" in names:
        drawn["time_gaps"] = 10 ** (4 + drawn["time_gaps"])  # seconds
    if "attention" in names:
        drawn["attention"] = 1 / (1 + drawn["attention"] ** 2)
    if "same_category" in names:
        drawn["same_category"] = drawn["same_category"] > 0
    if "mask" in names:
        drawn["mask"] = np.arange(LENGTH) < 1 + np.arange(batch)[:, np.newaxis] % (LENGTH - 1)
    return drawn


def ubm_inputs(batch: int) -> Inputs:
    return arrays(batch, "target", "history", "mask")


def search_inputs(batch: int) -> Inputs:
    return arrays(batch, "target", "history", "mask", "time_gaps", "same_category")


def bst_inputs(batch: int) -> Inputs:
    return arrays(batch, "target", "history", "mask", "time_gaps")


def ciubm_inputs(batch: int) -> Inputs:
    return arrays(batch, "target", "history", "target_content", "history_content", "mask")


def candidates_inputs(batch: int, *names: str) -> Inputs:
    drawn = arrays(batch, "candidates", "history_embedding", *names, "mask")
    drawn["target_embedding"] = drawn.pop("candidates")
    return drawn


CONTENTS = ("history", "history_content", "mask")
SEARCHED = ("history", "mask", "time_gaps", "same_category")
DESCRIPTORS = [
    Descriptor("average", AveragePooling, ubm_inputs, ("history", "mask")),
    Descriptor("din", lambda **kwargs: DIN((6, 3), **kwargs), ubm_inputs, ("history", "mask")),
    Descriptor("din sigmoid", lambda **kwargs: DIN((6,), "sigmoid", **kwargs), ubm_inputs, ("history", "mask")),
    Descriptor("sim soft", lambda **kwargs: SIM(top_k=2, **kwargs), search_inputs, SEARCHED),
    Descriptor("sim hard", lambda **kwargs: SIM("hard", top_k=2, **kwargs), search_inputs, SEARCHED),
    Descriptor("sim alone", lambda **kwargs: SIM(time_dim=0, **kwargs), ubm_inputs, ("history", "mask")),
    Descriptor("twin", lambda **kwargs: TWIN(top_k=2, **kwargs), search_inputs, SEARCHED),
    Descriptor(
        "twin alone",
        lambda **kwargs: TWIN(time_dim=0, category_dim=0, **kwargs),
        ubm_inputs,
        ("history", "mask"),
    ),
    Descriptor("dien", DIEN, ubm_inputs, ("history", "mask")),
    Descriptor("bst", BST, bst_inputs, ("history", "mask", "time_gaps")),
    Descriptor("deep bst", lambda **kwargs: BST(3, blocks=2, **kwargs), bst_inputs, ("history", "mask", "time_gaps")),
    Descriptor("bst alone", lambda **kwargs: BST(time_dim=0, **kwargs), ubm_inputs, ("history", "mask")),
    Descriptor(
        "augru",
        lambda **kwargs: AUGRU(3, **kwargs),
        lambda batch: arrays(batch, "inputs", "attention", "mask"),
        ("inputs", "attention", "mask"),
        keeps_length=True,
    ),
    Descriptor(
        "time gaps",
        lambda **kwargs: TimeGapEmbedding(3, **kwargs),
        lambda batch: arrays(batch, "time_gaps"),
        ("time_gaps",),
    ),
    # At inference Dice's mask changes nothing: it is for the statistics of training.
    Descriptor("dice", Dice, lambda batch: arrays(batch, "inputs"), ("inputs",)),
    Descriptor(
        "content",
        ContentInterest,
        lambda batch: arrays(batch, "target_embedding", "history_embedding", "mask"),
        ("history_embedding", "mask"),
    ),
    Descriptor(
        "fusion",
        FusionInterest,
        lambda batch: arrays(batch, "target_embedding", "history_embedding", "history", "mask"),
        ("history_embedding", "history", "mask"),
    ),
    Descriptor("content of candidates", ContentInterest, candidates_inputs, ("history_embedding", "mask")),
    Descriptor(
        "fusion of candidates",
        FusionInterest,
        lambda batch: candidates_inputs(batch, "history"),
        ("history_embedding", "history", "mask"),
    ),
    Descriptor("ciubm of din", lambda **kwargs: CiUBM(DIN((6, 3)), **kwargs), ciubm_inputs, CONTENTS),
    Descriptor(
        "tensor fusion", lambda **kwargs: TensorFusion(3, **kwargs), lambda batch: arrays(batch, "image", "text")
    ),
    Descriptor(
        "deep tensor fusion",
        lambda **kwargs: TensorFusion(3, (5,), **kwargs),
        lambda batch: arrays(batch, "image", "text"),
    ),
    Descriptor(
        "concat fusion", lambda **kwargs: ConcatFusion(3, **kwargs), lambda batch: arrays(batch, "image", "text")
    ),
    Descriptor(
        "deep concat fusion",
        lambda **kwargs: ConcatFusion(3, (5,), **kwargs),
        lambda batch: arrays(batch, "image", "text"),
    ),
    Descriptor(
        "hashed embedding",
        lambda **kwargs: HashedEmbedding(11, 3, **kwargs),
        lambda batch: {"ids": np.arange(batch * LENGTH).reshape(batch, LENGTH)},
        ("ids",),
    ),
    Descriptor(
        "vocabulary embedding",
        lambda **kwargs: VocabularyEmbedding([3, 5, 1], 3, **kwargs),
        lambda batch: {"values": np.arange(batch * LENGTH).reshape(batch, LENGTH)},
        ("values",),
    ),
    Descriptor(
        "bucketised embedding",
        lambda **kwargs: BucketisedEmbedding([-0.5, 0.5], 3, **kwargs),
        lambda batch: {"values": arrays(batch, "time_gaps")["time_gaps"]},
        ("values",),
    ),
    Descriptor(
        "standardised",
        lambda **kwargs: Standardised(10_000, 5_000, **kwargs),
        lambda batch: {"values": arrays(batch, "time_gaps")["time_gaps"]},
        ("values",),
    ),
    Descriptor(
        "deep ctr",
        lambda **kwargs: DeepCTR((6, 3), cross_layers=2, **kwargs),
        lambda batch: {"inputs": arrays(batch, "target")["target"]},
        keeps_float32=True,
    ),
    Descriptor(
        "deep ctr with dice",
        lambda **kwargs: DeepCTR((6,), "dice", **kwargs),
        lambda batch: {"inputs": arrays(batch, "target")["target"]},
        keeps_float32=True,
    ),
    Descriptor("ciubm without id", lambda **kwargs: CiUBM(None, **kwargs), ciubm_inputs, CONTENTS),
]
WITH_MASK = [descriptor for descriptor in DESCRIPTORS if "mask" in descriptor.sequences]
SUMMED_UP = [descriptor for descriptor in WITH_MASK if not descriptor.keeps_length]


def each(descriptors: list[Descriptor]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("descriptor", descriptors, ids=lambda descriptor: descriptor.label)


def drawn_weights(layer: keras.layers.Layer) -> None:
    """Replace a built layer's weights, whose zeros would hide mistakes, by numbers of either sign.

    Variances are positive. (Were all weights, a layer norm behind them would take nearly equal numbers apart.)
    """
    rng = np.random.default_rng(3)
    lowest = [0.1 if "variance" in weight.name else -0.9 for weight in layer.weights]
    layer.set_weights([rng.uniform(low, 0.9, weight.shape) for low, weight in zip(lowest, layer.weights, strict=True)])


def built(descriptor: Descriptor, **kwargs: Any) -> keras.layers.Layer:
    layer = descriptor.make(**kwargs)
    layer(**descriptor.inputs(2))
    drawn_weights(layer)
    return layer


def padded(values: np.ndarray, mask: np.ndarray, padding: float) -> np.ndarray:
    """Return `[batch, length, ...]` with something else where the mask is False: the padding, or the other boolean."""
    mask = mask.reshape(*mask.shape, *[1] * (values.ndim - mask.ndim))
    if values.dtype == bool:
        return values ^ ~mask
    return np.where(mask, values, padding).astype(values.dtype)


def modules() -> Iterator[ModuleType]:
    """Walk `PACKAGES`, so that what no `__init__.py` exports is found too."""
    for name in PACKAGES:
        package = importlib.import_module(name)
        if not hasattr(package, "__path__"):
            yield package
            continue
        for module in pkgutil.walk_packages(package.__path__, f"{name}."):
            yield importlib.import_module(module.name)


def public_layers() -> set[type[keras.layers.Layer]]:
    return {
        value
        for module in modules()
        for name, value in inspect.getmembers(module, inspect.isclass)
        if issubclass(value, keras.layers.Layer) and value.__module__ == module.__name__ and not name.startswith("_")
    }


def test_every_public_layer_has_a_descriptor() -> None:
    assert public_layers() == ABSTRACT | APART | {type(descriptor.make()) for descriptor in DESCRIPTORS}


def test_the_examples_in_the_docstrings_run() -> None:
    results = [doctest.testmod(module) for module in modules()]
    assert sum(result.failed for result in results) == 0
    assert sum(result.attempted for result in results) > 0


@each(DESCRIPTORS)
def test_config_makes_the_same_layer(descriptor: Descriptor) -> None:
    layer = built(descriptor, name="a_name")
    copy = type(layer).from_config(layer.get_config())
    inputs = descriptor.inputs(2)
    copy(**inputs)
    copy.set_weights(layer.get_weights())
    assert copy.name == "a_name"
    assert copy.get_config() == layer.get_config()
    np.testing.assert_array_equal(copy(**inputs), layer(**inputs))


@each(DESCRIPTORS)
def test_a_batch_of_one_gives_the_row_it_gives_in_a_larger_batch(descriptor: Descriptor) -> None:
    layer = built(descriptor)
    inputs = descriptor.inputs(4)
    together = np.asarray(layer(**inputs))
    for row in range(4):
        alone = layer(**{name: value[row : row + 1] for name, value in inputs.items()})
        np.testing.assert_allclose(alone, together[row : row + 1], rtol=1e-5, atol=1e-6)


@each(DESCRIPTORS)
def test_batch_and_length_may_be_unknown_when_traced(descriptor: Descriptor) -> None:
    layer = built(descriptor)
    inputs = descriptor.inputs(3)
    specs = {
        name: tf.TensorSpec(
            [None, None if name in descriptor.sequences else value.shape[1], *value.shape[2:]], value.dtype
        )
        for name, value in inputs.items()
    }
    traced = tf.function(lambda arguments: layer(**arguments), input_signature=[specs])
    np.testing.assert_allclose(traced(inputs), layer(**inputs), rtol=1e-5, atol=1e-6)


@each(WITH_MASK)
@pytest.mark.parametrize("padding", [np.nan, np.inf, -1e30, 1.0])
def test_what_is_padded_changes_nothing(descriptor: Descriptor, padding: float) -> None:
    layer = built(descriptor)
    inputs = descriptor.inputs(4)
    expected = layer(**inputs)
    for name in set(descriptor.sequences) - {"mask"}:
        inputs[name] = padded(inputs[name], inputs["mask"], padding)
    np.testing.assert_array_equal(layer(**inputs), expected)


@each(SUMMED_UP)
def test_padding_may_be_cut_off(descriptor: Descriptor) -> None:
    layer = built(descriptor)
    inputs = {name: value[2:3] for name, value in descriptor.inputs(4).items()}
    real = int(inputs["mask"].sum())
    assert 0 < real < LENGTH
    cut = {name: value[:, :real] if name in descriptor.sequences else value for name, value in inputs.items()}
    np.testing.assert_allclose(layer(**cut), layer(**inputs), rtol=1e-5, atol=1e-6)
    del cut["mask"]
    np.testing.assert_allclose(layer(**cut), layer(**inputs), rtol=1e-5, atol=1e-6)


@each(SUMMED_UP)
def test_an_empty_history_gives_zeros(descriptor: Descriptor) -> None:
    layer = built(descriptor)
    inputs = descriptor.inputs(2)
    nobody = {**inputs, "mask": np.zeros_like(inputs["mask"])}
    nothing = {name: value[:, :0] if name in descriptor.sequences else value for name, value in inputs.items()}
    for empty in (nobody, nothing):
        np.testing.assert_array_equal(layer(**empty), np.zeros_like(layer(**inputs)))


@each(WITH_MASK)
def test_padding_leaves_gradients_finite(descriptor: Descriptor) -> None:
    layer = built(descriptor)
    arguments = descriptor.inputs(4)
    for name in set(descriptor.sequences) - {"mask"}:
        arguments[name] = padded(arguments[name], arguments["mask"], np.nan)
    inputs = {name: tf.constant(value) for name, value in arguments.items()}
    sources = {name: value for name, value in inputs.items() if value.dtype.is_floating}
    with tf.GradientTape() as tape:
        tape.watch(sources)
        output = layer(**inputs)
    gradients = tape.gradient(output, {**sources, "weights": layer.trainable_variables}, unconnected_gradients="zero")
    for gradient in tf.nest.flatten(gradients):
        assert np.isfinite(tf.convert_to_tensor(gradient)).all()  # rows of an embedding, made dense


@each(DESCRIPTORS)
@pytest.mark.parametrize(("policy", "tolerance"), [("mixed_float16", 5e-3), ("mixed_bfloat16", 4e-2)])
def test_half_precision_stays_near_full_precision(descriptor: Descriptor, policy: str, tolerance: float) -> None:
    expected = built(descriptor)(**descriptor.inputs(4))
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(policy)
    try:
        half = built(descriptor)
        output = half(**descriptor.inputs(4))
    finally:
        keras.mixed_precision.set_global_policy(before)
    assert output.dtype == ("float32" if descriptor.keeps_float32 else policy.removeprefix("mixed_"))
    assert {tf.as_dtype(weight.dtype) for weight in half.get_weights()} <= {tf.float32}
    scale = np.abs(expected).max()
    np.testing.assert_allclose(tf.cast(output, tf.float32), expected, rtol=0, atol=tolerance * scale)


# Keras 3.15 saves a variable by `np.array(variable)`, whose `copy` keyword its variables do not take yet.
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")
@each(DESCRIPTORS)
def test_a_saved_model_reloads_with_the_same_outputs(descriptor: Descriptor, tmp_path: Path) -> None:
    inputs = descriptor.inputs(3)
    entries = {
        name: keras.Input(
            (None if name in descriptor.sequences else value.shape[1], *value.shape[2:]),
            name=name,
            dtype=value.dtype.name,
        )
        for name, value in inputs.items()
    }
    layer = descriptor.make()
    model = keras.Model(entries, layer(**entries))
    drawn_weights(layer)
    model.save(tmp_path / "model.keras")
    reloaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(reloaded(inputs), model(inputs))
    np.testing.assert_allclose(model(inputs), layer(**inputs), rtol=1e-5, atol=1e-6)
