"""The C-SFT loss against NumPy, equation (6) written out."""

import numpy as np
import tensorflow as tf

from mim_tf.finetuning.csft import CsftModel, multi_level_loss
from mim_tf.finetuning.item_encoder import ItemEmbeddings, ItemEncoder
from tests.training.two_replicas import DIM, ROWS, examples, text, vision


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_the_loss_equals_the_equation_and_copies_of_the_positive_are_no_negatives() -> None:
    rng = np.random.default_rng(0)
    queries = rng.normal(size=(3, 4))
    image, text, fused = rng.normal(size=(3, 6, 4))
    items = [10, 11, 10, 20, 11, 21]  # 10 was bought after queries 0 and 2; 11 is query 1's item and a hard negative
    query_items = [20, -1, -1]  # query 0 is the picture of item 20, a hard negative in this batch
    temperature = 0.2

    def info_nce(candidates: np.ndarray) -> float:
        losses = []
        for q in range(3):
            weights = [np.exp(cosine(queries[q], candidates[c]) / temperature) for c in range(6)]
            rivals = [weights[c] for c in range(6) if items[c] not in (items[q], query_items[q])]
            losses.append(-np.log(weights[q] / (weights[q] + sum(rivals))))
        return float(np.mean(losses))

    scalars = multi_level_loss(
        tf.constant(queries),
        ItemEmbeddings(tf.constant(image), tf.constant(text), tf.constant(fused)),
        tf.constant(items),
        tf.constant(query_items),
        tf.range(3),
        temperature=temperature,
        alpha=0.5,
        beta=0.25,
    )
    np.testing.assert_allclose(
        scalars["loss"], info_nce(fused) + 0.5 * info_nce(text) + 0.25 * info_nce(image), rtol=1e-5
    )
    np.testing.assert_allclose(scalars["query_to_image_loss"], info_nce(image), rtol=1e-5)


def test_a_query_has_two_n_minus_one_negatives() -> None:
    # All candidates alike: the loss is log of their number, the positive included: 2 N for N = 4 distinct pairs.
    ones = tf.ones([8, 3])
    scalars = multi_level_loss(
        tf.ones([4, 3]),
        ItemEmbeddings(ones, ones, ones),
        tf.range(8),
        tf.fill([4], -1),
        tf.range(4),
        temperature=1.0,
        alpha=0.0,
        beta=0.0,
    )
    np.testing.assert_allclose(np.exp(scalars["loss"]), 8, rtol=1e-5)


def test_string_ids_can_be_compared() -> None:
    ones = tf.ones([2, 3])
    scalars = multi_level_loss(
        tf.ones([1, 3]),
        ItemEmbeddings(ones, ones, ones),
        tf.constant(["a", "a"]),
        tf.constant([""]),
        tf.constant([0]),
        temperature=1.0,
        alpha=1,
        beta=1,
    )
    np.testing.assert_allclose(scalars["loss"], 0, atol=1e-6)  # its only other candidate is itself


def test_positives_may_be_anywhere_among_the_candidates() -> None:
    """As the rows of a second replica are: the loss of two queries is that of the candidates in another order."""
    rng = np.random.default_rng(3)
    queries, candidates = rng.normal(size=(2, 4)), rng.normal(size=(6, 4))
    order = rng.permutation(6)

    def loss(rows: np.ndarray, items: np.ndarray, positives: np.ndarray) -> float:
        embeddings = ItemEmbeddings(*[tf.constant(rows)] * 3)
        scalars = multi_level_loss(
            tf.constant(queries),
            embeddings,
            tf.constant(items),
            tf.constant([-1, 4], tf.int64),
            tf.constant(positives),
            temperature=0.3,
            alpha=0.0,
            beta=0.0,
        )
        return float(scalars["loss"])

    cosines = np.array([[cosine(query, candidate) for candidate in candidates] for query in queries])
    weights = np.exp(cosines / 0.3)
    weights[1, 4] = 0  # query 1 is the picture of item 4
    expected = -np.log(weights[[0, 1], [0, 1]] / weights.sum(axis=1)).mean()
    for places in (np.arange(6), order):
        np.testing.assert_allclose(
            loss(candidates[places], np.arange(6)[places], np.argsort(places)[:2]), expected, rtol=1e-5
        )


def model() -> CsftModel:
    return CsftModel(ItemEncoder(vision(), text(), (), DIM), 0.1, 0.5, 0.25)


def test_embeddings_are_the_item_encoders() -> None:
    objective = model()
    batch = objective.assemble(examples(0), tf.constant([1, 2]))
    embeddings = objective.embed(batch, training=False)
    assert embeddings.shape == (ROWS, 7, DIM)

    def pixels(name: str) -> tf.Tensor:
        return tf.cast(batch[name], tf.float32)

    positive = objective.items(pixels("image"), batch["token_ids"])
    negative = objective.items(pixels("negative_image"), batch["negative_token_ids"])
    queries = objective.items.vision(pixels("query_image"))
    expected = [queries, positive.image, negative.image, positive.text, negative.text, positive.fused, negative.fused]
    np.testing.assert_allclose(embeddings, tf.stack(expected, axis=1), rtol=1e-4, atol=1e-5)


def test_the_loss_of_a_batch_is_that_of_its_triplets() -> None:
    objective = model()
    embeddings = np.random.default_rng(1).normal(size=(2, 7, DIM))
    ids = {"item": [1, 2], "negative_item": [3, 4], "query_item": [-1, -1]}
    found = objective.contrast(tf.constant(embeddings, tf.float32), {name: tf.constant(of) for name, of in ids.items()})

    def info_nce(first: int) -> float:
        candidates = np.concatenate([embeddings[:, first], embeddings[:, first + 1]])
        weights = np.exp([[cosine(row[0], candidate) / 0.1 for candidate in candidates] for row in embeddings])
        return float(-np.log(weights[[0, 1], [0, 1]] / weights.sum(axis=1)).mean())

    parts = {"query_to_image_loss": info_nce(1), "query_to_text_loss": info_nce(3), "query_to_item_loss": info_nce(5)}
    for name, value in parts.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4, err_msg=name)
    whole = parts["query_to_item_loss"] + 0.5 * parts["query_to_text_loss"] + 0.25 * parts["query_to_image_loss"]
    np.testing.assert_allclose(found["loss"], whole, rtol=1e-4)


def test_the_same_seed_gives_the_same_batch_and_string_ids_become_numbers() -> None:
    objective = model()
    rows = examples(0)
    one, again, other = (objective.assemble(rows, tf.constant([3, seed])) for seed in (1, 1, 2))
    for name in one:
        np.testing.assert_array_equal(one[name], again[name])
    for name in ("image", "query_image", "negative_image"):
        assert (one[name].numpy() != other[name].numpy()).mean() > 0.5
    ids = ("item_id", "negative_item_id", "query_item_id")
    strings = objective.assemble(rows | {name: tf.strings.as_string(rows[name]) for name in ids}, tf.constant([3, 1]))
    everyone, strange = (
        np.concatenate([batch[name] for name in ("item", "negative_item", "query_item")]) for batch in (one, strings)
    )
    assert strange.dtype == np.int64
    np.testing.assert_array_equal(strange[:, None] == strange, everyone[:, None] == everyone)
