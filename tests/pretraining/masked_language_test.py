"""Masked language modelling: the head worked out in NumPy, gradients by finite differences, and that it learns."""

from math import erf
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from mim_tf.encoders import TEXT_FAMILIES, TextEncoder, add_lora, recompute_activations, train_last_blocks
from mim_tf.pretraining.masked_language import MaskedLanguage
from tests.encoders.conftest import make_toy
from tests.pretraining.descent import learn

FAMILIES = [name for name, family in TEXT_FAMILIES.items() if not family.causal]
TITLES = ["red dress a", "", "a dress red", "dress b red c"]
SEED = tf.constant([1, 2])
Batch = dict[str, tf.Tensor]


def make_model(name: str = "bert", dtype: str = "float32") -> tuple[TextEncoder, MaskedLanguage, Batch]:
    encoder = make_toy(f"text-{name}", dtype).encoder
    assert isinstance(encoder, TextEncoder)
    model = MaskedLanguage(encoder, mask_share=0.3, whole_words=False)
    return encoder, model, model.assemble({"title": tf.constant(TITLES)}, SEED)


def gradients_of(model: MaskedLanguage, batch: Batch, variables: list[keras.Variable]) -> list[np.ndarray]:
    with tf.GradientTape() as tape:
        loss = model.losses_of(batch)["loss"]
    gradients = tape.gradient(loss, [variable.value for variable in variables])
    assert all(gradient is not None for gradient in gradients), [variable.path for variable in variables]
    return [tf.convert_to_tensor(gradient).numpy() for gradient in gradients]


def head_by_hand(encoder: TextEncoder, model: MaskedLanguage, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    """What the output matrix meets, `[chosen, hidden]`, and probabilities `[chosen, vocabulary]`, in float64."""
    inputs = {"token_ids": batch["token_ids"], "padding_mask": encoder.tokenizer.mask(batch["targets"])}
    sequence = encoder.backbone(inputs)["sequence"]
    chosen = np.array(sequence, np.float64)[batch["chosen"].numpy()]
    kernel, bias, gamma, beta = (np.array(w, np.float64) for w in (*model.transform.weights, *model.norm.weights))
    x = chosen @ kernel + bias
    x = x * (1 + np.vectorize(erf)(x / np.sqrt(2))) / 2  # gelu
    x = (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + 1e-12) * gamma + beta
    embedding = np.array(TEXT_FAMILIES[encoder.family].token_embedding(encoder.backbone), np.float64)
    weights = np.exp(x @ embedding.T + np.array(model.bias))
    return x, weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_loss_is_that_of_the_head_by_hand(name: str) -> None:
    encoder, model, batch = make_model(name)
    for weight in (*model.transform.weights, *model.norm.weights, model.bias):
        weight.assign(np.random.default_rng(0).normal(size=weight.shape))
    x, probabilities = head_by_hand(encoder, model, batch)
    targets = batch["targets"].numpy()[batch["chosen"].numpy()]
    places = np.arange(len(targets))
    assert len(targets) >= 3
    scalars = model.losses_of(batch)
    np.testing.assert_allclose(scalars["loss"], -np.log(probabilities[places, targets]).mean(), rtol=1e-4)
    assert scalars["accuracy"] == np.float32((probabilities.argmax(axis=1) == targets).mean())

    embedding = TEXT_FAMILIES[name].token_embedding(encoder.backbone)
    of_bias, of_embedding = gradients_of(model, batch, [model.bias, embedding])
    error = probabilities.copy()
    error[places, targets] -= 1
    np.testing.assert_allclose(of_bias, error.mean(axis=0), rtol=1e-3, atol=1e-6)
    # Rows that no input looks up learn from the output side alone.
    unseen = np.setdiff1d(np.arange(len(of_embedding)), batch["token_ids"])
    expected = (error.T @ x / len(x))[unseen]
    np.testing.assert_allclose(of_embedding[unseen], expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("name", FAMILIES)
def test_gradients_are_finite_differences(name: str) -> None:
    encoder, model, batch = make_model(name)
    embedding = TEXT_FAMILIES[name].token_embedding(encoder.backbone)
    embedding.assign(np.random.default_rng(0).normal(size=embedding.shape))  # a loss far from its plateau
    variables = [embedding, model.transform.kernel, encoder.backbone.trainable_variables[-1]]
    for variable, gradient in zip(variables, gradients_of(model, batch, variables), strict=True):
        value, direction = np.array(variable), gradient / np.linalg.norm(gradient)
        losses = []
        for step in (0.01, -0.01):
            variable.assign(value + step * direction)
            losses.append(float(model.losses_of(batch)["loss"]))
        variable.assign(value)
        # Along the gradient the loss rises by the gradient's length.
        np.testing.assert_allclose((losses[0] - losses[1]) / 0.02, np.linalg.norm(gradient), rtol=0.02)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("name", FAMILIES)
def test_it_learns_and_leaves_another_encoder(name: str, dtype: str, tmp_path: Path) -> None:
    encoder, model, batch = make_model(name, dtype)
    before, projection = encoder.backbone.get_weights(), encoder.projection.get_weights()
    learn(model, batch, steps=20)
    scalars = model.losses_of(batch)
    assert {scalar.dtype for scalar in scalars.values()} == {tf.float32}
    # A guess has a loss of log(vocabulary). By now it knows these few tokens.
    assert scalars["loss"] < 0.6 * np.log(encoder.arguments["vocabulary_size"])
    encoder.save_folder(tmp_path)
    saved = TextEncoder.load_folder(tmp_path)
    for weight, old, new in zip(encoder.backbone.weights, before, saved.backbone.get_weights(), strict=True):
        np.testing.assert_array_equal(new, weight, weight.path)
        # The same added to all of a query's scores changes nothing: biases of keys may stay.
        assert (old != new).any() or "key/bias" in weight.path, weight.path
    for old, new in zip(projection, saved.projection.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)


def test_what_is_frozen_stays_and_the_rest_learns() -> None:
    encoder, model, batch = make_model()
    train_last_blocks(encoder, 0)
    head = [*model.transform.weights, *model.norm.weights, model.bias]
    assert {variable.path for variable in model.trainable_variables} == {variable.path for variable in head}
    assert all(gradient.any() for gradient in gradients_of(model, batch, model.trainable_variables))


def test_a_graph_that_recomputes_has_the_same_gradients() -> None:
    encoder, model, batch = make_model()
    variables = model.trainable_variables
    eager = gradients_of(model, batch, variables)
    recompute_activations(encoder)

    @tf.function
    def in_graph(batch: Batch) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            loss = model.losses_of(batch)["loss"]
        return [tf.convert_to_tensor(each) for each in tape.gradient(loss, [variable.value for variable in variables])]

    for variable, one, other in zip(variables, eager, in_graph(batch), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-3, atol=1e-5, err_msg=variable.path)


def test_adapters_learn() -> None:
    encoder, model, batch = make_model(dtype="mixed_bfloat16")
    add_lora(encoder, 2)
    adapters = [variable for variable in model.trainable_variables if "lora" in variable.path]
    assert len(adapters) == 2 * 6  # query, key, value, output and two of the feed-forward network
    assert any(gradient.any() for gradient in gradients_of(model, batch, adapters))


def test_batches_are_titles_with_tokens_hidden_and_the_seeds_alone() -> None:
    encoder, model, batch = make_model()
    np.testing.assert_array_equal(batch["targets"], encoder.tokenize(tf.constant(TITLES)))
    chosen = batch["chosen"].numpy()
    assert chosen.sum(axis=1).tolist() == [1, 0, 1, 1]  # 30% of 3, 0, 3 and 4 tokens
    np.testing.assert_array_equal(batch["token_ids"].numpy()[~chosen], batch["targets"].numpy()[~chosen])

    seeds = [[seed, 7] for seed in range(6)]
    records = tf.data.Dataset.from_tensor_slices({"title": TITLES, "category": ["c"] * len(TITLES)})
    titles = records.map(model.decode).batch(len(TITLES)).repeat(len(seeds))
    in_parallel = tf.data.Dataset.zip(titles, tf.data.Dataset.from_tensor_slices(seeds)).map(
        model.assemble, num_parallel_calls=4
    )
    batches = list(in_parallel.as_numpy_iterator())
    for seed, seen in zip(seeds, batches, strict=True):
        expected = model.assemble({"title": tf.constant(TITLES)}, tf.constant(seed))
        assert seen.keys() == expected.keys()
        for name, values in seen.items():
            np.testing.assert_array_equal(values, expected[name])
    assert len({seen["chosen"].tobytes() for seen in batches}) > 1


def test_whole_words_are_hidden_together() -> None:
    encoder = make_toy("text-xlm_roberta").encoder
    assert isinstance(encoder, TextEncoder)
    model = MaskedLanguage(encoder, mask_share=0.01, whole_words=True)
    batch = model.assemble({"title": tf.constant(["summer"] * 20)}, SEED)  # a single word
    is_piece = ~np.isin(batch["targets"], [0, 1, 2])
    assert is_piece.sum(axis=1).min() > 1
    np.testing.assert_array_equal(batch["chosen"], is_piece)


def test_empty_titles_teach_nothing() -> None:
    _, model, _ = make_model()
    batch = model.assemble({"title": tf.constant(["", ""])}, SEED)
    assert model.losses_of(batch)["loss"] == 0
    assert not any(gradient.any() for gradient in gradients_of(model, batch, model.trainable_variables))


@pytest.mark.parametrize("name", [name for name in TEXT_FAMILIES if name not in FAMILIES])
def test_causal_families_are_told_what_to_train_with(name: str) -> None:
    encoder = make_toy(f"text-{name}").encoder
    with pytest.raises(ValueError, match=rf"both directions; train {name} with `causal_language`.* Received: {name}"):
        MaskedLanguage(encoder, mask_share=0.15, whole_words=False)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_share_of_nothing_or_all_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match=rf"`mask_share` must be above 0 and below 1\. Received: {share}"):
        MaskedLanguage(make_toy("text-bert").encoder, mask_share=share, whole_words=False)
