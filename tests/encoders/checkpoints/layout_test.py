"""A PyTorch checkpoint into a Keras model, checked by what the model then computes, and what does not fit by name."""

from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np
import pytest
from safetensors.numpy import save_file

from mim_tf.encoders.checkpoints import Layout, Source, TensorFiles, joined, part

WIDTH = 6


def layout_of(sources: Mapping[str, str | Source], **options: object) -> Layout:
    """A layout with this table, whatever the arguments."""
    return Layout(
        library="torch",
        recognises=lambda config: True,
        arguments=lambda config: {},
        sources=lambda arguments: dict(sources),
        **options,  # type: ignore[arg-type]
    )


def load(model: keras.Model, layout: Layout, tensors: Mapping[str, np.ndarray], folder: Path, **grids: int) -> None:
    """Load a model from tensors by way of a file."""
    save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, folder / "model.safetensors")
    layout.load(model, {}, TensorFiles(folder), {path.replace("__", "/"): leading for path, leading in grids.items()})


def random(*shape: int) -> np.ndarray:
    return np.random.normal(size=shape).astype(np.float32)


def dense_model() -> keras.Model:
    """One dense layer and a norm: `dense/kernel`, `dense/bias`, `norm/gamma`, `norm/beta`."""
    inputs = keras.Input((4,))
    outputs = keras.layers.LayerNormalization(name="norm")(keras.layers.Dense(WIDTH, name="dense")(inputs))
    return keras.Model(inputs, outputs, name="small")


DENSE = {"dense": "encoder.linear", "norm": "encoder.LayerNorm"}


def dense_tensors() -> dict[str, np.ndarray]:
    """What fits `dense_model` by `DENSE`."""
    return {
        "encoder.linear.weight": random(WIDTH, 4),
        "encoder.linear.bias": random(WIDTH),
        "encoder.LayerNorm.weight": random(WIDTH),
        "encoder.LayerNorm.bias": random(WIDTH),
    }


def expected_of(tensors: Mapping[str, np.ndarray], inputs: np.ndarray) -> np.ndarray:
    """What PyTorch computes: `x W^T + b`, then the norm."""
    hidden = inputs @ tensors["encoder.linear.weight"].T + tensors["encoder.linear.bias"]
    hidden = (hidden - hidden.mean(axis=1, keepdims=True)) / np.sqrt(hidden.var(axis=1, keepdims=True) + 1e-3)
    return hidden * tensors["encoder.LayerNorm.weight"] + tensors["encoder.LayerNorm.bias"]


@pytest.mark.parametrize("prefix", ["", "model.", "deeper.model."])
def test_matrices_are_transposed_and_prefixes_found(prefix: str, tmp_path: Path) -> None:
    model, tensors, inputs = dense_model(), dense_tensors(), random(3, 4)
    layout = layout_of(DENSE, prefixes=("", "model.", "deeper.model."))
    load(model, layout, {prefix + name: tensor for name, tensor in tensors.items()}, tmp_path)
    np.testing.assert_allclose(model(inputs), expected_of(tensors, inputs), rtol=1e-4, atol=1e-5)


def test_a_layout_may_keep_matrices_as_keras_does(tmp_path: Path) -> None:
    model, tensors, inputs = dense_model(), dense_tensors(), random(3, 4)
    keras_form = tensors | {"encoder.linear.weight": tensors["encoder.linear.weight"].T}
    load(model, layout_of(DENSE, transposed=False), keras_form, tmp_path)
    np.testing.assert_allclose(model(inputs), expected_of(tensors, inputs), rtol=1e-4, atol=1e-5)


def test_half_precision_fits_too(tmp_path: Path) -> None:
    model, tensors, inputs = dense_model(), dense_tensors(), random(3, 4)
    load(model, layout_of(DENSE), {name: tensor.astype(np.float16) for name, tensor in tensors.items()}, tmp_path)
    assert {variable.dtype for variable in model.weights} == {"float32"}
    np.testing.assert_allclose(model(inputs), expected_of(tensors, inputs), rtol=1e-2, atol=1e-2)


def test_heads_and_buffers_are_left_out(tmp_path: Path) -> None:
    model, tensors = dense_model(), dense_tensors()
    others = {"classifier.weight": random(2, 3), "batch.num_batches_tracked": np.array(7), "x.position_ids": random(5)}
    load(model, layout_of(DENSE, unused=(r"classifier\..*",)), tensors | others, tmp_path)
    np.testing.assert_array_equal(model.get_layer("dense").bias, tensors["encoder.linear.bias"])


def test_convolutions_compute_what_they_do_in_pytorch(tmp_path: Path) -> None:
    inputs = keras.Input((2, 2, 3))
    convolved = keras.layers.Conv2D(WIDTH, 2, name="conv")(inputs)
    depthwise = keras.layers.DepthwiseConv2D(2, name="depthwise")(inputs)
    model = keras.Model(inputs, [convolved, depthwise])
    tensors = {"c.weight": random(WIDTH, 3, 2, 2), "c.bias": random(WIDTH), "d.weight": random(3, 1, 2, 2)}
    load(model, layout_of({"conv": "c", "depthwise": "d"}), tensors | {"d.bias": random(3)}, tmp_path)
    image = random(1, 2, 2, 3)  # one place for the kernel: a sum over all of it
    ours, ours_by_channel = model(image)
    expected = np.einsum("oihw,hwi->o", tensors["c.weight"], image[0]) + tensors["c.bias"]
    np.testing.assert_allclose(ours[0, 0, 0], expected, rtol=1e-4, atol=1e-5)
    by_channel = np.einsum("ihw,hwi->i", tensors["d.weight"][:, 0], image[0]) + model.get_layer("depthwise").bias
    np.testing.assert_allclose(ours_by_channel[0, 0, 0], by_channel, rtol=1e-4, atol=1e-5)


def test_the_running_statistics_of_a_norm_are_its_moments(tmp_path: Path) -> None:
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.BatchNormalization(epsilon=0.0, name="norm")(inputs))
    tensors = {"n.weight": np.array([2.0, 3.0]), "n.bias": np.array([1.0, 0.0])}
    statistics = {"n.running_mean": np.array([10.0, 20.0]), "n.running_var": np.array([4.0, 25.0])}
    load(model, layout_of({"norm": "n"}), tensors | statistics, tmp_path)
    np.testing.assert_allclose(model(np.array([[12.0, 10.0]])), [[2 * 1 + 1, 3 * -2]])


def test_query_key_and_value_are_parts_of_one_tensor(tmp_path: Path) -> None:
    inputs = keras.Input((None, 4))
    attention = keras.layers.MultiHeadAttention(num_heads=2, key_dim=2, name="attention")
    model = keras.Model(inputs, attention(inputs, inputs))
    names = {"query": 0, "key": 1, "value": 2}
    sources = {f"attention/{name}": part("qkv", index, 3) for name, index in names.items()}
    tensors = {"qkv.weight": random(12, 4), "qkv.bias": random(12), "o.weight": random(4, 4), "o.bias": random(4)}
    load(model, layout_of(sources | {"attention/attention_output": "o"}), tensors, tmp_path)

    sequence = random(5, 4)
    query, key, value = np.split((sequence @ tensors["qkv.weight"].T + tensors["qkv.bias"]).reshape(5, 6, 2), 3, axis=1)
    scores = np.exp(np.einsum("qhd,khd->hqk", query, key) / 2**0.5)
    mixed = np.einsum("hqk,khd->qhd", scores / scores.sum(axis=-1, keepdims=True), value).reshape(5, 4)
    expected = mixed @ tensors["o.weight"].T + tensors["o.bias"]
    np.testing.assert_allclose(model(sequence[np.newaxis])[0], expected, rtol=1e-4, atol=1e-5)


def test_tensors_are_joined_along_their_outputs(tmp_path: Path) -> None:
    model, tensors, inputs = dense_model(), dense_tensors(), random(3, 4)
    upper, lower = np.split(tensors["encoder.linear.weight"], 2)
    halves = {"a.weight": upper, "b.weight": lower, "a.bias": random(3), "b.bias": random(3)}
    norm = {name: tensor for name, tensor in tensors.items() if "Norm" in name}
    load(model, layout_of(DENSE | {"dense": joined("a", "b")}), halves | norm, tmp_path)
    whole = tensors | {"encoder.linear.bias": np.concatenate([halves["a.bias"], halves["b.bias"]])}
    np.testing.assert_allclose(model(inputs), expected_of(whole, inputs), rtol=1e-4, atol=1e-5)


def test_all_that_does_not_fit_is_told_at_once_and_nothing_is_assigned(tmp_path: Path) -> None:
    model, tensors = dense_model(), dense_tensors()
    before = model.get_weights()
    del tensors["encoder.linear.bias"]
    tensors["encoder.linear.weight"] = random(WIDTH, 5)
    tensors |= {"encoder.LayerNorm.bias": random(WIDTH + 1), "decoder.weight": random(2)}
    with pytest.raises(ValueError, match="does not fit small:") as raised:
        load(model, layout_of(DENSE), tensors, tmp_path)
    assert str(raised.value).splitlines()[1:] == [
        "  missing: encoder.linear.bias",
        "  unexpected: decoder.weight",
        "  wrong shape: encoder.linear.weight is [6, 5], which does not fit [4, 6]",
        "  wrong shape: encoder.LayerNorm.bias is [7], which does not fit [6]",
    ]
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_tensor_that_has_no_equal_parts_is_told(tmp_path: Path) -> None:
    tensors = dense_tensors() | {"encoder.linear.weight": random(WIDTH + 1, 4)}
    with pytest.raises(ValueError, match=r"wrong shape: encoder\.linear\.weight is \[\(7, 4\)\]"):
        load(dense_model(), layout_of(DENSE | {"dense": part("encoder.linear", 0, 2)}), tensors, tmp_path)


def test_every_kind_of_error_is_listed_at_length_but_not_endlessly(tmp_path: Path) -> None:
    tensors = {f"other.{index}": random(1) for index in range(50)}
    with pytest.raises(ValueError, match="does not fit") as raised:
        load(dense_model(), layout_of(DENSE), tensors, tmp_path)
    lines = str(raised.value).splitlines()
    assert sum("missing: " in line for line in lines) == 4
    assert sum("unexpected: " in line for line in lines) == 20
    assert lines[-1] == "  and 30 more"


class Positions(keras.layers.Layer):
    """Adds the class token's position embedding and nine others to tokens."""

    def build(self, input_shape: tuple[int, ...]) -> None:
        """One per token, `[1, tokens, dim]`."""
        self.embeddings = self.add_weight(shape=(1, *input_shape[1:]), name="embeddings")

    def call(self, tokens: keras.KerasTensor) -> keras.KerasTensor:
        """Their sum."""
        return tokens + self.embeddings


def test_a_grid_of_positions_is_resized_to_the_models(tmp_path: Path) -> None:
    inputs = keras.Input((1 + 9, 2))
    model = keras.Model(inputs, Positions(name="positions")(inputs))
    tensors = {"pos_embed": np.concatenate([random(1, 1, 2), np.full((1, 4, 2), 5, np.float32)], axis=1)}
    layout = layout_of({"positions/embeddings": "pos_embed"})
    load(model, layout, tensors, tmp_path, positions__embeddings=1)
    embeddings = model(np.zeros((1, 10, 2), np.float32))
    np.testing.assert_array_equal(embeddings[0, 0], tensors["pos_embed"][0, 0])
    np.testing.assert_allclose(embeddings[0, 1:], 5, rtol=1e-6)
    with pytest.raises(ValueError, match=r"wrong shape: pos_embed is \[1, 5, 2\], which does not fit \[1, 10, 2\]"):
        load(model, layout, tensors, tmp_path)
    with pytest.raises(ValueError, match=r"wrong shape: pos_embed: .* a square grid\. Received: 5 places for 9\."):
        load(model, layout, {"pos_embed": random(1, 6, 2)}, tmp_path, positions__embeddings=1)
