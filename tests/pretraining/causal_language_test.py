"""Next-token prediction: worked out token by token in NumPy, gradients by finite differences, and that it learns."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from mim_tf.encoders import TEXT_FAMILIES, TextEncoder, add_lora, recompute_activations, train_last_blocks
from mim_tf.pretraining.causal_language import CausalLanguage
from tests.encoders.conftest import LENGTH, make_toy
from tests.pretraining.descent import learn

FAMILIES = [name for name, family in TEXT_FAMILIES.items() if family.causal]
TITLES = ["red", "", "a red dress", "dress"]  # the third is cut off
SEED = tf.constant([1, 2])
Batch = dict[str, tf.Tensor]


def make_model(name: str, dtype: str = "float32") -> tuple[TextEncoder, CausalLanguage, Batch]:
    encoder = make_toy(f"text-{name}", dtype).encoder
    assert isinstance(encoder, TextEncoder)
    model = CausalLanguage(encoder)
    return encoder, model, model.assemble({"title": tf.constant(TITLES)}, SEED)


def gradients_of(model: CausalLanguage, batch: Batch, variables: list[keras.Variable]) -> list[np.ndarray]:
    with tf.GradientTape() as tape:
        loss = model.losses_of(batch)["loss"]
    gradients = tape.gradient(loss, [variable.value for variable in variables])
    assert all(gradient is not None for gradient in gradients), [variable.path for variable in variables]
    return [tf.convert_to_tensor(gradient).numpy() for gradient in gradients]


def by_hand(encoder: TextEncoder, token_ids: np.ndarray) -> tuple[list[int], list[np.ndarray], list[np.ndarray]]:
    """Of every token but a title's first: which it is, what it is predicted from, and the probabilities of all."""
    embedding = np.array(TEXT_FAMILIES[encoder.family].token_embedding(encoder.backbone), np.float64)
    end = encoder.tokenize(tf.constant([""])).numpy()[0, -1]
    tokens, hidden, probabilities = [], [], []
    for row in token_ids:
        title = row[: list(row).index(end) + 1]  # without padding, so that none can have a part in it
        if len(title) == 1:
            continue
        inputs = {"token_ids": title[np.newaxis], "padding_mask": np.ones((1, len(title)), bool)}
        (sequence,) = np.array(encoder.backbone(inputs)["sequence"], np.float64)
        for place in range(1, len(title)):
            weights = np.exp(embedding @ sequence[place - 1])
            tokens.append(int(title[place]))
            hidden.append(sequence[place - 1])
            probabilities.append(weights / weights.sum())
    return tokens, hidden, probabilities


@pytest.mark.parametrize("name", FAMILIES)
def test_the_loss_is_that_of_each_token_by_hand(name: str) -> None:
    encoder, model, batch = make_model(name)
    embedding = TEXT_FAMILIES[name].token_embedding(encoder.backbone)
    embedding.assign(np.random.default_rng(0).normal(size=embedding.shape))
    token_ids = batch["token_ids"].numpy()
    tokens, hidden, probabilities = by_hand(encoder, token_ids)
    # re d <end>; <end>; a title cut off; d re s s <end>: without the first token of each.
    begin = 1 if name == "llama" else 0
    assert len(tokens) == (2 + begin) + (0 + begin) + (LENGTH - 1) + (4 + begin)
    scalars = model.losses_of(batch)
    losses = [-np.log(each[token]) for token, each in zip(tokens, probabilities, strict=True)]
    np.testing.assert_allclose(scalars["loss"], np.mean(losses), rtol=1e-4)
    first = [each.argmax() == token for token, each in zip(tokens, probabilities, strict=True)]
    np.testing.assert_allclose(scalars["accuracy"], np.mean(first), rtol=1e-6)

    (gradient,) = gradients_of(model, batch, [embedding])
    errors = np.array(probabilities) - np.eye(len(gradient))[tokens]
    # Rows that no input looks up learn from the output side alone.
    unseen = np.setdiff1d(np.arange(len(gradient)), token_ids)
    expected = (errors.T @ np.array(hidden) / len(tokens))[unseen]
    np.testing.assert_allclose(gradient[unseen], expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("name", FAMILIES)
def test_gradients_are_finite_differences(name: str) -> None:
    encoder, model, batch = make_model(name)
    embedding = TEXT_FAMILIES[name].token_embedding(encoder.backbone)
    embedding.assign(np.random.default_rng(0).normal(size=embedding.shape))
    variables = [embedding, encoder.backbone.trainable_variables[-1]]
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


def test_the_end_is_predicted_and_what_follows_it_is_not() -> None:
    encoder, model, _ = make_model("gpt2")
    batch = model.assemble({"title": tf.constant(["x"])}, SEED)  # x <end> <end> ...: nothing but the end to predict
    (end,) = set(batch["token_ids"].numpy()[0, 1:].tolist())
    embedding = np.array(TEXT_FAMILIES["gpt2"].token_embedding(encoder.backbone), np.float64)
    inputs = {"token_ids": batch["token_ids"][:, :1], "padding_mask": tf.constant([[True]])}
    logits = embedding @ np.array(encoder.backbone(inputs)["sequence"], np.float64)[0, 0]
    expected = np.log(np.exp(logits).sum()) - logits[end]
    np.testing.assert_allclose(model.losses_of(batch)["loss"], expected, rtol=1e-5)


def test_titles_without_a_token_to_predict_teach_nothing() -> None:
    _, model, _ = make_model("gpt2")
    batch = model.assemble({"title": tf.constant(["", ""])}, SEED)
    assert model.losses_of(batch)["loss"] == 0
    assert not any(gradient.any() for gradient in gradients_of(model, batch, model.trainable_variables))


def test_what_is_frozen_stays_and_the_rest_learns() -> None:
    encoder, model, batch = make_model("qwen3")
    train_last_blocks(encoder, 1)
    embedding = TEXT_FAMILIES["qwen3"].token_embedding(encoder.backbone)
    learning = {variable.path for variable in model.trainable_variables}
    assert learning == {variable.path for variable in encoder.backbone.weights} - {embedding.path}
    assert all(gradient.any() for gradient in gradients_of(model, batch, model.trainable_variables))


def test_a_graph_that_recomputes_has_the_same_gradients() -> None:
    encoder, model, batch = make_model("gpt2")
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
    encoder, model, batch = make_model("gpt2", "mixed_bfloat16")
    add_lora(encoder, 2)
    variables = model.trainable_variables
    assert len(variables) == 2 * 6  # query, key, value, output and two of the feed-forward network
    assert all("lora" in variable.path for variable in variables)
    assert any(gradient.any() for gradient in gradients_of(model, batch, variables))


def test_batches_are_tokenised_titles_in_parallel_pipelines_too() -> None:
    encoder, model, batch = make_model("llama")
    np.testing.assert_array_equal(batch["token_ids"], encoder.tokenize(tf.constant(TITLES)))
    records = tf.data.Dataset.from_tensor_slices({"title": TITLES, "category": ["c"] * len(TITLES)})
    titles = records.map(model.decode).batch(len(TITLES)).repeat(4)
    batches = titles.map(lambda examples: model.assemble(examples, SEED), num_parallel_calls=4)
    for seen in batches.as_numpy_iterator():
        assert seen.keys() == {"token_ids"}
        np.testing.assert_array_equal(seen["token_ids"], batch["token_ids"])


@pytest.mark.parametrize("name", [name for name in TEXT_FAMILIES if name not in FAMILIES])
def test_families_that_read_both_ways_are_told_what_to_train_with(name: str) -> None:
    encoder = make_toy(f"text-{name}").encoder
    with pytest.raises(ValueError, match=rf"must be causal; train {name}, .* `masked_language` .*Received: {name}"):
        CausalLanguage(encoder)
