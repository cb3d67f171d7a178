from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from mim_tf.interest import DIN, UBMS, AveragePooling, CiUBM, ContentInterest, FusionInterest

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
