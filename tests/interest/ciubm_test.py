from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from mim_tf.interest import DIN, UBMS, AveragePooling, CiUBM, ContentInterest, FusionInterest, UserState
from mim_tf.interest.ciubm import call_arguments

pytestmark = pytest.mark.both_kerases


@keras.utils.register_keras_serializable(package="another_team")
class NewestBehaviour(keras.layers.Layer):
    """A user behaviour model of another team: the newest behaviour, projected; it knows nothing of ours."""

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.projection = keras.layers.Dense(units)

    def build(self, target_shape: Any) -> None:
        self.projection.build(target_shape)
        super().build(target_shape)

    def call(self, target: tf.Tensor, history: tf.Tensor, mask: tf.Tensor | None = None) -> tf.Tensor:
        return self.projection(history[:, 0])

    def compute_mask(self, *inputs: Any, **masks: Any) -> None:
        return None

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units}


class SinceLast(NewestBehaviour):
    """One that reads the time gaps, and shows them."""

    def call(
        self, target: tf.Tensor, history: tf.Tensor, mask: tf.Tensor | None = None, time_gaps: tf.Tensor | None = None
    ) -> tf.Tensor:
        return tf.fill([2, 1], -1.0) if time_gaps is None else tf.cast(time_gaps[:, :1], tf.float32)


class Wrapper(NewestBehaviour):
    """One that hands on whatever it gets, and shows which."""

    def call(self, target: tf.Tensor, history: tf.Tensor, **kwargs: Any) -> tf.Tensor:
        names = sorted(name for name in ("mask", "same_category", "time_gaps") if name in kwargs)
        return tf.fill([2, 1], float(len(names)))


def batch(length: int = 5) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(8)
    inputs = {
        "target": rng.normal(size=(2, 4)),
        "history": rng.normal(size=(2, length, 4)),
        "target_content": rng.normal(size=(2, 3)),
        "history_content": rng.normal(size=(2, length, 3)),
    }
    return {name: value.astype(np.float32) for name, value in inputs.items()}


def test_by_hand() -> None:
    output = CiUBM(AveragePooling())(
        tf.constant([[0.0]]),
        tf.constant([[[10.0], [20.0], [99.0]]]),
        tf.constant([[1.0, 0.0]]),
        tf.constant([[[4.0, 3.0], [-1.0, 0.0], [1.0, 0.0]]]),
        mask=tf.constant([[True, True, False]]),
    )
    # Cosines 0.8 and -1; the third behaviour is padding.
    # ID (10 + 20) / 2; content 0.8 (4, 3) - (-1, 0); fusion 0.8 * 10 - 20.
    np.testing.assert_allclose(output, [[15.0, 4.2, 2.4, -12.0]], rtol=1e-6)


@pytest.mark.parametrize("ubm", sorted(UBMS))
@pytest.mark.parametrize(
    ("id_on", "content", "fusion"),
    [(True, True, True), (False, True, True), (True, False, True), (True, True, False), (True, False, False)],
)
def test_each_ablation_joins_what_is_left(ubm: str, id_on: bool, content: bool, fusion: bool) -> None:
    inputs = batch()
    inner = UBMS[ubm]()
    parts = [
        (id_on, inner(inputs["target"], inputs["history"])),
        (content, ContentInterest()(inputs["target_content"], inputs["history_content"])),
        (fusion, FusionInterest()(inputs["target_content"], inputs["history_content"], inputs["history"])),
    ]
    output = CiUBM(inner if id_on else None, content=content, fusion=fusion)(**inputs)
    expected = np.concatenate([part for on, part in parts if on], axis=1)
    np.testing.assert_allclose(output, expected, rtol=1e-5, atol=1e-6)


def test_without_content_and_fusion_no_contents_are_needed() -> None:
    inputs = batch()
    inner = DIN((4,))
    layer = CiUBM(inner, content=False, fusion=False)
    output = layer(inputs["target"], inputs["history"])
    np.testing.assert_array_equal(output, inner(inputs["target"], inputs["history"]))


@pytest.mark.parametrize("length", [1, 7])
def test_another_teams_model_takes_the_place_of_ours(length: int) -> None:
    layer = CiUBM(NewestBehaviour(6))
    output = layer(**batch(length), mask=np.ones((2, length), bool))
    assert output.shape == (2, 6 + 3 + 4)
    assert len(layer.trainable_variables) == 2


# Keras 3.15 saves a variable by `np.array(variable)`, whose `copy` keyword its variables do not take yet.
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")
def test_another_teams_model_is_saved_and_reloaded_inside(tmp_path: Path) -> None:
    inputs = batch()
    shapes = {"target": (4,), "history": (None, 4), "target_content": (3,), "history_content": (None, 3)}
    entries = {name: keras.Input(shape, name=name) for name, shape in shapes.items()}
    model = keras.Model(entries, keras.layers.Dense(1)(CiUBM(NewestBehaviour(6))(**entries)))
    model.save(tmp_path / "model.keras")
    reloaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(reloaded(inputs), model(inputs))


def test_its_config_is_plain_json_of_the_inner_layer() -> None:
    config = CiUBM(DIN((6, 3), "sigmoid"), fusion=False).get_config()
    assert config["id_interest"]["class_name"] in ("DIN", "mim_tf>DIN")
    assert config["id_interest"]["config"]["hidden_units"] == [6, 3]
    assert (config["content"], config["fusion"]) == (True, False)
    copy = CiUBM.from_config(config)
    assert isinstance(copy.id_interest, DIN)
    assert copy.id_interest.activation == "sigmoid"
    assert CiUBM.from_config(CiUBM(None).get_config()).id_interest is None


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_a_history_of_ten_thousand_in_half_precision(policy: str) -> None:
    inputs = batch(10_000)
    expected = CiUBM(AveragePooling())(**inputs)
    output = CiUBM(AveragePooling(dtype=policy), dtype=policy)(**inputs)
    assert output.dtype == policy.removeprefix("mixed_")
    scale = np.abs(expected).max()
    np.testing.assert_allclose(tf.cast(output, tf.float32), expected, atol=1e-2 * scale)


def test_all_three_off() -> None:
    with pytest.raises(ValueError, match="one of `id_interest`, `content` and `fusion` must be on"):
        CiUBM(None, content=False, fusion=False)


def test_an_inner_model_that_is_no_layer() -> None:
    with pytest.raises(TypeError, match=r"`id_interest` must be a Keras layer or None. Received: 'din'"):
        CiUBM("din")


@pytest.mark.parametrize("missing", ["target_content", "history_content"])
def test_contents_that_are_missing(missing: str) -> None:
    inputs = batch()
    del inputs[missing]
    with pytest.raises(ValueError, match=f"for content and fusion interest. Received: None for {missing}"):
        CiUBM(AveragePooling())(**inputs)


DETAILS = {"time_gaps": np.array([[7, 8, 9, 10, 11], [3, 4, 5, 6, 7]]), "same_category": np.ones((2, 5), bool)}


def id_interest(ubm: keras.layers.Layer, **details: np.ndarray) -> np.ndarray:
    return np.asarray(CiUBM(ubm, content=False, fusion=False)(**batch(), **details))


def test_an_inner_model_gets_the_details_it_names() -> None:
    np.testing.assert_array_equal(id_interest(SinceLast(1), **DETAILS), [[7.0], [3.0]])
    np.testing.assert_array_equal(id_interest(SinceLast(1)), [[-1.0], [-1.0]])
    assert call_arguments(SinceLast(1)) == {"time_gaps"}


def test_an_inner_model_that_names_none_is_left_in_peace() -> None:
    inner = NewestBehaviour(3)
    np.testing.assert_array_equal(id_interest(inner, **DETAILS), id_interest(inner))
    assert call_arguments(inner) == call_arguments(AveragePooling()) == frozenset()


def test_an_inner_model_that_takes_any_keyword_gets_what_is_given() -> None:
    assert id_interest(Wrapper(1), **DETAILS)[0] == 3
    assert id_interest(Wrapper(1), time_gaps=DETAILS["time_gaps"])[0] == 2
    assert id_interest(Wrapper(1))[0] == 1


CANDIDATES = 3


def of_candidates(ubm: keras.layers.Layer) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Arguments with several candidates per user, and the same with each as a user of its own."""
    rng = np.random.default_rng(9)
    together: dict[str, np.ndarray] = {**batch(), "mask": np.array([[True] * 5, [True, True, False, False, False]])}
    together["target"] = rng.normal(size=(2, CANDIDATES, 4)).astype(np.float32)
    together["target_content"] = rng.normal(size=(2, CANDIDATES, 3)).astype(np.float32)
    details = {
        "time_gaps": DETAILS["time_gaps"],
        "same_category": rng.random((2, CANDIDATES, 5)) < 0.5,
        "shown": rng.random((2, CANDIDATES)) < 0.5,
    }
    together |= {name: details[name] for name in call_arguments(ubm)}
    apart = {
        name: value.reshape(2 * CANDIDATES, *value.shape[2:])
        if name in ("target", "target_content", "same_category", "shown")
        else np.repeat(value, CANDIDATES, axis=0)
        for name, value in together.items()
    }
    return together, apart


class OfOneTarget(NewestBehaviour):
    """One that takes a single target per user and no other shapes, and shows all of its arguments."""

    def call(self, target: tf.Tensor, history: tf.Tensor, mask: tf.Tensor | None = None, **kwargs: Any) -> tf.Tensor:
        users, length = mask.shape
        assert (target.shape, history.shape) == ((users, 4), (users, length, 4))
        seconds, same = (tf.cast(tf.ensure_shape(kwargs[n], mask.shape), tf.float32) for n in sorted(DETAILS)[::-1])
        weights = tf.cast(mask, tf.float32) * seconds * (1 + same)
        return target * tf.reduce_sum(weights[..., tf.newaxis] * history, axis=1)


@pytest.mark.parametrize("make", [DIN, UBMS["twin"], lambda: OfOneTarget(4)])
def test_many_candidates_of_a_user(make: Any) -> None:
    inner = make()
    together, apart = of_candidates(inner)
    layer = CiUBM(inner)
    expected = np.asarray(layer(**apart)).reshape(2, CANDIDATES, -1)
    np.testing.assert_allclose(layer(**together), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("make", [DIN, lambda: NewestBehaviour(6)])
def test_many_candidates_of_unknown_number(make: Any) -> None:
    layer = CiUBM(make())
    together, apart = of_candidates(layer.id_interest)
    dims = {"target": 4, "history": 4, "target_content": 3, "history_content": 3}
    specs = {
        name: tf.TensorSpec([None, None, dims[name]] if name in dims else [None] * value.ndim, value.dtype)
        for name, value in together.items()
    }
    traced = tf.function(lambda arguments: layer(**arguments), input_signature=[specs])
    expected = np.asarray(layer(**apart)).reshape(2, CANDIDATES, -1)
    assert traced.get_concrete_function().structured_outputs.shape[-1] == expected.shape[-1]
    np.testing.assert_allclose(traced(together), expected, rtol=1e-5, atol=1e-5)


def test_categories_of_a_single_target_beside_candidates() -> None:
    together, _ = of_candidates(OfOneTarget(4))
    together["same_category"] = together["same_category"][:, 0]
    with pytest.raises(ValueError, match=r"`same_category` must have the shape \[batch, candidates, length\]"):
        CiUBM(OfOneTarget(4))(**together)


@pytest.mark.parametrize("candidates", [False, True])
@pytest.mark.parametrize(("content", "fusion"), [(True, True), (True, False), (False, True)])
def test_a_state_takes_the_place_of_the_history(candidates: bool, content: bool, fusion: bool) -> None:
    together, apart = of_candidates(AveragePooling())
    inputs = together if candidates else apart
    layer = CiUBM(AveragePooling(), content=content, fusion=fusion)
    expected = layer(**inputs)
    state = UserState.from_history(inputs["history_content"], inputs["history"], inputs["mask"])
    del inputs["history_content"]
    np.testing.assert_allclose(layer(**inputs, user_state=state), expected, rtol=1e-4, atol=1e-5)


def test_beside_a_state_the_history_is_the_id_interests_alone() -> None:
    together, _ = of_candidates(AveragePooling())
    state = UserState.from_history(together["history_content"], together["history"], together["mask"])
    newest = {"history": np.full((2, 1, 4), 7.0, np.float32), "mask": np.ones((2, 1), bool)}
    whole, layer = np.asarray(CiUBM(AveragePooling())(**together)), CiUBM(AveragePooling())
    output = layer(together["target"], target_content=together["target_content"], **newest, user_state=state)
    np.testing.assert_array_equal(output[..., :4], np.full((2, CANDIDATES, 4), 7.0))
    np.testing.assert_allclose(output[..., 4:], whole[..., 4:], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_a_state_is_not_rounded_to_half_precision(policy: str) -> None:
    # (-4,097 + 4,096) / sqrt(2). Neither half precision has 4,097: rounded to 4,096 it would leave nothing.
    state = UserState(tf.constant([[[4097.0, 4096.0], [0.0, 0.0]]], tf.float64), tf.zeros([1, 1, 2], tf.float64))
    target_content = tf.constant([[-1.0, 1.0]], tf.float16)
    output = CiUBM(None, fusion=False, dtype=policy)(
        tf.zeros([1, 1]), tf.zeros([1, 1, 1]), target_content, user_state=state
    )
    np.testing.assert_allclose(tf.cast(output, tf.float32), [[-(0.5**0.5), 0.0]], rtol=1e-2)


def test_a_functional_model_of_a_state() -> None:
    together, _ = of_candidates(AveragePooling())
    state = UserState.from_history(together["history_content"], together["history"], together["mask"])
    entries = {
        "target": keras.Input([None, 4]),
        "history": keras.Input([None, 4]),
        "target_content": keras.Input([None, 3]),
        "mask": keras.Input([None], dtype="bool"),
    }
    of_state = UserState(keras.Input([3, 3], dtype="float64"), keras.Input([4, 3], dtype="float64"))
    layer = CiUBM(AveragePooling())
    model = keras.Model([*entries.values(), *of_state], layer(**entries, user_state=of_state))
    output = model([tf.constant(together[name]) for name in entries] + [*state])
    np.testing.assert_allclose(output, layer(**together), rtol=1e-4, atol=1e-5)


def test_a_state_without_the_targets_contents() -> None:
    inputs = {name: value for name, value in batch().items() if name in ("target", "history")}
    with pytest.raises(ValueError, match=r"for content and fusion interest. Received: None for target_content"):
        CiUBM(AveragePooling())(**inputs, user_state=UserState.empty(2, 4, 3))


def test_a_state_of_other_users() -> None:
    inputs = batch()
    with pytest.raises(ValueError, match="`target_embedding` and `the state` must have the same batch size"):
        CiUBM(AveragePooling())(**inputs, user_state=UserState.empty(5, 4, 3))


ENTRIES = {
    "target": ((4,), "float32"),
    "history": ((None, 4), "float32"),
    "target_content": ((3,), "float16"),
    "history_content": ((None, 3), "float16"),
    "mask": ((None,), "bool"),
    "time_gaps": ((None,), "int64"),
    "same_category": ((None,), "bool"),
}


def symbolic(**shapes: tuple[int | None, ...]) -> dict[str, Any]:
    return {
        name: keras.Input(shapes.get(name, shape), name=name, dtype=dtype) for name, (shape, dtype) in ENTRIES.items()
    }


# Keras 3.15 saves a variable by `np.array(variable)`, whose `copy` keyword its variables do not take yet.
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")
def test_a_functional_model_is_trained_saved_and_reloaded(tmp_path: Path) -> None:
    entries = symbolic()
    click = keras.layers.Dense(1, activation="sigmoid")(CiUBM(DIN((4,)))(**entries))
    model = keras.Model(entries, click)
    inputs = {**batch(), "mask": np.array([[True] * 5, [True, True, False, False, False]]), **DETAILS}
    for name in ("target_content", "history_content"):
        inputs[name] = inputs[name].astype(np.float16)
    inputs["history"][~inputs["mask"]] = np.nan
    inputs["history_content"][~inputs["mask"]] = np.nan
    before = model.get_weights()
    model.compile(optimizer=keras.optimizers.Adam(0.1), loss="binary_crossentropy")
    losses = model.fit(inputs, np.array([[1.0], [0.0]]), epochs=5, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    for old, new in zip(before, model.get_weights(), strict=True):
        assert np.isfinite(new).all()
        assert np.any(old != new)
    model.save(tmp_path / "model.keras")
    reloaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(reloaded(inputs), model(inputs))


MISMATCHES = pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("target_content", (5,), "`target_content` and `history_content` must have the same batch size and last dim"),
        ("target_content", (2, 3), "`target` and `target_content` must have the same batch size, and candidates if"),
        ("target", (7, 4), "`target` and `target_content` must have the same batch size, and candidates if any"),
        ("history_content", (3,), r"`history_content` must have the shape \[batch, length, dim\]"),
        ("history", (6, 4), "`history` and `history_content` must have the same batch size and length"),
        ("target", (5,), "`target` and `history` must have the same batch size and last dimension"),
        ("mask", (4,), "`mask` must have the shape of the history"),
    ],
)


# The rest is of length 5. With every inner model: another team's may check nothing.
@MISMATCHES
@pytest.mark.parametrize("inner", [DIN, lambda: NewestBehaviour(3), lambda: None], ids=["din", "theirs", "none"])
def test_dimensions_that_do_not_fit(inner: Any, name: str, shape: tuple[int, ...], message: str) -> None:
    inputs = {**batch(), name: np.ones((2, *shape), bool if name == "mask" else np.float32)}
    with pytest.raises(ValueError, match=message):
        CiUBM(inner())(**inputs)


@MISMATCHES
def test_symbolic_dimensions_that_do_not_fit(name: str, shape: tuple[int, ...], message: str) -> None:
    fitting = {"history": (5, 4), "history_content": (5, 3), "mask": (5,)}
    entries = symbolic(**{**fitting, name: shape})
    if name != "mask":
        del entries["mask"]
    with pytest.raises(ValueError, match=message):
        CiUBM(NewestBehaviour(3))(**entries)


@pytest.mark.parametrize("name", ["target_content", "history_content", "target", "history"])
def test_batch_sizes_that_do_not_fit(name: str) -> None:
    inputs = batch()
    inputs[name] = inputs[name][:1]
    with pytest.raises(ValueError, match="must have the same batch size"):
        CiUBM(NewestBehaviour(3))(**inputs)


def test_ids_in_place_of_contents() -> None:
    inputs = {**batch(), "history_content": np.ones((2, 5, 3), np.int64)}
    with pytest.raises(TypeError, match=r"`history_content` must be floating point. Received: dtype int64"):
        CiUBM(AveragePooling())(**inputs)
