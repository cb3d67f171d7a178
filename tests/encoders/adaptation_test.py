"""Training in part: what stays as it was, what a low-rank adapter changes, and that recomputing changes nothing."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from mim_tf.encoders import add_lora, layer_rates, recompute_activations, train_last_blocks
from mim_tf.encoders.adaptation import Encoder, blocks
from mim_tf.settings import TrainingSettings
from mim_tf.training.trainer import Trainer
from tests.encoders.conftest import FAMILIES, make_toy

# With layer and with batch normalisation, of both directions and causal; the others take a minute together.
QUICK = ("vision-vit", "vision-resnet", "text-bert", "text-gpt2")


@pytest.fixture(params=[name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in FAMILIES])
def family(request: pytest.FixtureRequest) -> str:
    """Each family once."""
    return str(request.param)


def loss_and_gradients(encoder: Encoder, inputs: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
    @tf.function
    def compute() -> tuple[tf.Tensor, list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(encoder(inputs, training=True) - 1))
        return loss, tape.gradient(loss, [variable.value for variable in encoder.trainable_variables])

    loss, gradients = compute()
    return loss, [tf.convert_to_tensor(gradient) for gradient in gradients]


def step(encoder: Encoder, inputs: tf.Tensor) -> None:
    """A plain gradient step on what learns."""
    _, gradients = loss_and_gradients(encoder, inputs)
    for variable, gradient in zip(encoder.trainable_variables, gradients, strict=True):
        variable.assign_sub(0.1 * gradient)


def values(layer: keras.Layer) -> dict[str, np.ndarray]:
    return {variable.path: np.array(variable) for variable in layer.weights}


def changed(before: dict[str, np.ndarray], layer: keras.Layer) -> set[str]:
    return {variable.path for variable in layer.weights if (before[variable.path] != np.array(variable)).any()}


def test_only_the_last_block_and_what_follows_it_learns(family: str) -> None:
    encoder, inputs, _ = make_toy(family)
    before = values(encoder)
    train_last_blocks(encoder, 1)
    step(encoder, inputs)
    *early, last = blocks(encoder)
    moved = changed(before, encoder)
    assert {variable.path for variable in encoder.projection.weights} <= moved
    assert moved & {variable.path for variable in last.weights}
    assert not moved & {variable.path for block in early for variable in block.weights}
    first = encoder.backbone.weights[0]  # of the embedding or the stem
    assert first.path not in moved


def test_a_frozen_backbone_stays_bit_for_bit(family: str) -> None:
    encoder, inputs, _ = make_toy(family)
    before = values(encoder.backbone)
    train_last_blocks(encoder, 0)
    step(encoder, inputs)
    assert changed(before, encoder.backbone) == set()  # the statistics of batch normalisation included
    assert len(encoder.trainable_variables) == 2


def test_adapters_start_at_nothing_learn_and_are_merged_when_saved(family: str, tmp_path: Path) -> None:
    encoder, inputs, _ = make_toy(family)
    if family == "vision-resnet":
        with pytest.raises(ValueError, match=r"`rank` must be 0 with resnet: its blocks have no dense layers"):
            add_lora(encoder, 2)
        return
    plain = encoder(inputs)
    before = values(encoder.backbone)
    add_lora(encoder, 2)
    np.testing.assert_array_equal(encoder(inputs), plain)
    for _ in range(2):  # at first only B moves, for A's gradient passes through B = 0
        step(encoder, inputs)
    adapters = {variable.path for variable in encoder.backbone.weights} - set(before)
    assert adapters
    assert all("lora_kernel" in path for path in adapters)
    assert all((before[v.path] == np.array(v)).all() for v in encoder.backbone.weights if v.path in before)
    assert np.abs(encoder(inputs) - plain).max() > 1e-4
    encoder.save_folder(tmp_path)
    merged = type(encoder).load_folder(tmp_path)
    assert values(merged.backbone).keys() == before.keys()
    np.testing.assert_allclose(merged(inputs), encoder(inputs), rtol=1e-4, atol=1e-5)


def test_recomputed_activations_give_the_same_gradients(family: str) -> None:
    encoder, inputs, _ = make_toy(family)
    loss, gradients = loss_and_gradients(encoder, inputs)
    recompute_activations(encoder)
    recomputed_loss, recomputed = loss_and_gradients(encoder, inputs)
    np.testing.assert_allclose(recomputed_loss, loss, rtol=1e-4)
    largest = max(np.abs(gradient).max() for gradient in gradients)  # some are zero but for rounding: keys' biases
    for variable, one, other in zip(encoder.trainable_variables, gradients, recomputed, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-4 * largest, err_msg=variable.path)


def test_recomputing_computes_the_blocks_twice() -> None:
    def products(encoder: Encoder, inputs: tf.Tensor) -> int:
        def gradients() -> list[tf.Tensor]:
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(encoder(inputs, training=True))
            return tape.gradient(loss, [variable.value for variable in encoder.trainable_variables])

        graph = tf.function(gradients).get_concrete_function().graph
        functions = [graph.as_graph_def().node, *(f.node_def for f in graph.as_graph_def().library.function)]
        return sum(node.op in ("MatMul", "BatchMatMulV2", "Einsum") for nodes in functions for node in nodes)

    encoder, inputs, _ = make_toy("vision-vit")
    plain = products(encoder, inputs)
    recompute_activations(encoder)
    assert products(encoder, inputs) > plain


def test_adapters_and_recomputation_go_together(tmp_path: Path) -> None:
    encoder, inputs, _ = make_toy("text-bert", "mixed_bfloat16")
    add_lora(encoder, 2)
    _, gradients = loss_and_gradients(encoder, inputs)
    recompute_activations(encoder)
    _, recomputed = loss_and_gradients(encoder, inputs)
    for one, other in zip(gradients, recomputed, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-3, atol=1e-4)


def test_more_blocks_than_there_are_is_an_error() -> None:
    encoder, _, _ = make_toy("vision-vit")
    with pytest.raises(ValueError, match=r"`count` must be 0 to 2, the blocks of vit\. Received: 3"):
        train_last_blocks(encoder, 3)


def test_a_checkpoint_holds_every_variable_frozen_ones_and_adapters_included(family: str, tmp_path: Path) -> None:
    def adapted(seed: int) -> tuple[Encoder, tf.train.Checkpoint]:
        keras.utils.set_random_seed(seed)
        encoder = make_toy(family).encoder
        if family != "vision-resnet":
            add_lora(encoder, 2)
        trainer = Trainer(
            encoder,
            TrainingSettings(),
            steps=1,
            rates={},
            strategy=tf.distribute.get_strategy(),
            batches_from=lambda step: [],
            stop_requested=lambda: False,
        )
        return encoder, trainer.checkpoint()

    encoder, checkpoint = adapted(1)
    checkpoint.write(str(tmp_path / "checkpoint"))
    other, its_checkpoint = adapted(2)
    different = sum((np.array(a) != np.array(b)).any() for a, b in zip(encoder.weights, other.weights, strict=True))
    assert different > 3
    its_checkpoint.read(str(tmp_path / "checkpoint")).assert_consumed()
    for one, restored in zip(encoder.weights, other.weights, strict=True):
        np.testing.assert_array_equal(restored, one, err_msg=one.path)


def test_deeper_layers_learn_more_slowly() -> None:
    """At a decay of 0.5: of the ViT's two blocks a half and a quarter, an eighth before them, all of it after them."""
    encoder = make_toy("vision-vit").encoder
    by_part = {
        "vit_patching_and_embedding": 0.125,
        "vit_encoder/transformer_block_1": 0.25,
        "vit_encoder/transformer_block_2": 0.5,
        "vit_encoder/ln": 1.0,
    }
    found = layer_rates(encoder, 0.5)
    assert found.keys() == {variable.path for variable in encoder.backbone.weights}
    for path, rate in found.items():
        assert [rate] == [expected for part, expected in by_part.items() if path.startswith(f"{part}/")], path
    bert = layer_rates(make_toy("text-bert").encoder, 0.5)  # a single block, and nothing after it
    assert {path: rate for path, rate in bert.items() if rate != 0.5} == {
        "token_embedding/embeddings": 0.25,
        "position_embedding/embeddings": 0.25,
        "segment_embedding/embeddings": 0.25,
        "embeddings_layer_norm/gamma": 0.25,
        "embeddings_layer_norm/beta": 0.25,
    }


def test_rates_are_of_the_encoders_own_variables() -> None:
    """Both encoders' rates go into one table by path: none may be in both."""
    paths = {family: set(layer_rates(make_toy(family).encoder, 0.5)) for family in FAMILIES}
    for vision in (family for family in FAMILIES if family.startswith("vision")):
        for text in (family for family in FAMILIES if family.startswith("text")):
            assert not paths[vision] & paths[text], (vision, text)


def test_a_decay_of_one_leaves_all_rates_alone(family: str) -> None:
    assert set(layer_rates(make_toy(family).encoder, 1.0).values()) == {1.0}
