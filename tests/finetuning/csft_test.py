"""The objective: what a batch holds, what is embedded where, what is remembered."""

import numpy as np
import tensorflow as tf

from mim_tf.finetuning.csft import CsftModel
from mim_tf.finetuning.item_encoder import ItemEncoder
from mim_tf.finetuning.multi_level import MultiLevel
from mim_tf.finetuning.slow_weights import SlowWeights
from mim_tf.finetuning.space_time_contrast import SpaceTimeContrast
from tests.finetuning.toy_csft import DIM, ROWS, contrast, examples, item_encoder, negatives, text, toy_csft, vision

SEED = tf.constant([3, 1])


def test_embeddings_are_the_item_encoders() -> None:
    objective = toy_csft()
    batch = objective.assemble(examples(0), SEED)
    embeddings = objective.embed(batch, training=False)
    assert embeddings.shape == (ROWS, 1 + 2 * 3, DIM)
    pixels = tf.cast(batch["images"], tf.float32)
    np.testing.assert_allclose(embeddings[:, 0], objective.items.vision(pixels[:, 0]), rtol=1e-4, atol=1e-5)
    for candidate in range(2):
        expected = objective.items(pixels[:, 1 + candidate], batch["token_ids"][:, candidate])
        found = embeddings[:, 1 + 3 * candidate : 4 + 3 * candidate]
        np.testing.assert_allclose(found, tf.stack(expected, axis=1), rtol=1e-4, atol=1e-5)


def test_a_batch_holds_the_query_the_item_and_the_negative_that_was_drawn() -> None:
    objective = toy_csft()
    pairs = examples(0)
    batch = objective.assemble(pairs, SEED)
    assert batch["images"].shape == (ROWS, 3, 32, 32, 3)
    np.testing.assert_array_equal(batch["items"][:, 0], pairs["item_id"])
    tokenize = objective.items.text.tokenize
    np.testing.assert_array_equal(batch["token_ids"][:, 0], tokenize(pairs["title"]))
    # The draw is the table's, shifted by a number that the seed decides.
    shifts = [negatives(pairs["item_row"], pairs["chosen_rows"], tf.constant([shift, 0])) for shift in range(ROWS)]
    drawn = next(draw for draw in shifts if np.array_equal(draw["negative_item_id"], batch["items"][:, 1]))
    np.testing.assert_array_equal(batch["token_ids"][:, 1], tokenize(drawn["negative_title"]))
    np.testing.assert_array_equal(batch["fallback"], drawn["negative_fallback"].numpy().astype(np.float32))
    np.testing.assert_array_equal(batch["category"], drawn["category"])


def test_the_same_seed_gives_the_same_batch_and_string_ids_become_numbers() -> None:
    objective = toy_csft()
    rows = examples(0)
    one, again, other = (objective.assemble(rows, tf.constant([3, seed])) for seed in (1, 1, 2))
    for name in one:
        np.testing.assert_array_equal(one[name], again[name])
    assert (one["images"].numpy() != other["images"].numpy()).mean() > 0.5

    def with_texts(*arguments: tf.Tensor) -> dict[str, tf.Tensor]:
        drawn = negatives(*arguments)
        return drawn | {"negative_item_id": tf.strings.as_string(drawn["negative_item_id"])}

    texts = rows | {name: tf.strings.as_string(rows[name]) for name in ("item_id", "query_item_id")}
    strange = CsftModel(objective.items, contrast(), with_texts).assemble(texts, tf.constant([3, 1]))
    everyone, others = (
        np.concatenate([batch["items"].numpy().ravel(), batch["query_item"]]) for batch in (one, strange)
    )
    assert others.dtype == np.int64
    np.testing.assert_array_equal(others[:, None] == others, everyone[:, None] == everyone)


def test_without_hard_negatives_none_is_decoded() -> None:
    loss = SpaceTimeContrast(MultiLevel(0.5, 0.5), 0.1, space_time=False)
    objective = CsftModel(item_encoder(), loss, negatives)
    batch = objective.assemble(examples(0), SEED)
    assert batch["images"].shape[1] == 2
    assert batch["items"].shape == (ROWS, 1)
    scalars = objective.losses_of(batch)
    assert scalars["negatives"] <= ROWS - 1
    assert "negative_fallback_share" not in scalars


def test_the_loss_is_that_of_the_embedded_pairs_and_the_queue_fills_in_training_alone() -> None:
    objective = toy_csft(batches=2)
    batches = [objective.assemble(examples(step), SEED) for step in range(2)]
    twin = contrast(2)
    for batch in batches:
        embeddings = objective.embed(batch, training=True)
        candidates = tf.reshape(embeddings[:, 1:], [ROWS, 2, 3, DIM])
        fused_text_image = tf.reverse(candidates, axis=[2])
        expected = twin(embeddings[:, 0], fused_text_image, batch, training=True)
        objective.losses_of(batch, training=False)
        found = objective.losses_of(batch)
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-4, err_msg=name)
    assert found["negatives"] > 2 * ROWS


def test_slow_weights_fill_the_queue_and_follow_after_it() -> None:
    items = item_encoder()
    slow = SlowWeights(items, 0.5)
    objective = CsftModel(items, contrast(1), negatives, slow=slow)
    for variable in items.trainable_variables:
        variable.assign_add(tf.ones_like(variable) * 0.1)
    batch = objective.assemble(examples(0), SEED)
    pixels = tf.cast(batch["images"], tf.float32)
    with slow.scope():
        fused = [items(pixels[:, 1 + c], batch["token_ids"][:, c]).fused for c in range(2)]
    before = [np.array(average) for average in slow.averages]
    objective.losses_of(batch)
    queue = objective.pair_loss.queue
    np.testing.assert_allclose(queue.embeddings.numpy().reshape(3, 2 * ROWS, DIM)[0], tf.concat(fused, 0), atol=1e-4)
    for average, start, variable in zip(slow.averages, before, items.trainable_variables, strict=True):
        np.testing.assert_allclose(average, (start + np.array(variable)) / 2, rtol=1e-4, atol=1e-6)


def test_equal_slow_weights_embed_alike_in_spite_of_batch_normalisation() -> None:
    items = ItemEncoder(vision("resnet_toy"), text(), (), DIM)
    objective = CsftModel(items, contrast(1), negatives, slow=SlowWeights(items, 0.5))
    embeddings = objective.embed(objective.assemble(examples(0), SEED), training=True)
    assert embeddings.shape == (ROWS, 1 + 2 * 3 + 2 * 3, DIM)
    np.testing.assert_allclose(embeddings[:, 1:7], embeddings[:, 7:], rtol=1e-4, atol=1e-5)


def test_no_gradient_flows_through_slow_weights() -> None:
    items = item_encoder()
    objective = CsftModel(items, contrast(1), negatives, slow=SlowWeights(items, 0.5))
    batch = objective.assemble(examples(0), SEED)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(objective.embed(batch, training=True)[:, 7:])
    gradients = tape.gradient(total, [variable.value for variable in items.trainable_variables])
    assert all(np.all(tf.convert_to_tensor(gradient) == 0) for gradient in gradients if gradient is not None)
