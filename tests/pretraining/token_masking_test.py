"""Masking against NumPy: how many tokens, which ones, together with which, and what stands in their place."""

import numpy as np
import pytest
import tensorflow as tf

from mim_tf.encoders.tokenizers import Masking
from mim_tf.pretraining.token_masking import mask_tokens

# Specials at both ends of the vocabulary and inside it, 1 an unknown token that is none; the last 12 continue words.
PAD, UNKNOWN, CLS, SEP, MASK = 0, 1, 2, 7, 39
VOCABULARY = 40
CONTINUING = range(27, MASK)
STARTS = np.array([token not in CONTINUING for token in range(VOCABULARY)])
MASKING = Masking(MASK, (PAD, CLS, SEP, MASK), STARTS)
SPECIAL = np.array([PAD, CLS, SEP, MASK])
REGULAR = np.setdiff1d(np.arange(VOCABULARY), SPECIAL)
LENGTH = 34
SEED = tf.constant([3, 5])


def titles(rows: int) -> np.ndarray:
    """`[rows, LENGTH]`, each `[CLS] title [SEP]` and padding, of 0 to 32 random tokens."""
    rng = np.random.default_rng(0)
    token_ids = np.full((rows, LENGTH), PAD, np.int32)
    for row, count in zip(token_ids, np.arange(rows) % (LENGTH - 1), strict=True):
        row[: count + 2] = [CLS, *rng.choice(REGULAR, count), SEP]
    return token_ids


def masked(
    token_ids: np.ndarray, share: float = 0.15, whole_words: bool = False, seed: tf.Tensor = SEED
) -> tuple[np.ndarray, np.ndarray]:
    hidden, chosen = mask_tokens(tf.constant(token_ids), seed, MASKING, share=share, whole_words=whole_words)
    assert hidden.dtype == tf.int32
    return hidden.numpy(), chosen.numpy()


def wanted(row: np.ndarray, share: float) -> int:
    count = int((~np.isin(row, SPECIAL)).sum())
    return max(1, round(share * count)) if count else 0


def word_places(row: np.ndarray) -> list[list[int]]:
    """The places of each word's tokens, one by one from left to right."""
    words: list[list[int]] = []
    for place, token in enumerate(row):
        if token in SPECIAL:
            continue
        if token in CONTINUING and words:
            words[-1].append(place)
        else:
            words.append([place])
    return words


@pytest.mark.parametrize("share", [0.15, 0.5, 0.99, 0.01])
def test_as_many_tokens_are_chosen_as_the_formula_says_and_none_special(share: float) -> None:
    token_ids = titles(400)
    _, chosen = masked(token_ids, share)
    assert chosen.sum(axis=1).tolist() == [wanted(row, share) for row in token_ids]
    assert not np.isin(token_ids[chosen], SPECIAL).any()


def test_halves_are_rounded_as_on_paper() -> None:
    # 15% of 10, 30 and 190 tokens are 1.5, 4.5 and 28.5, rounded to even.
    token_ids = np.full((3, 200), PAD, np.int32)
    token_ids[0, :10] = token_ids[1, :30] = token_ids[2, :190] = 9
    _, chosen = masked(token_ids)
    assert chosen.sum(axis=1).tolist() == [2, 4, 28]


def test_every_token_has_the_same_chance() -> None:
    token_ids = np.tile([[CLS, *range(8, 18), SEP, PAD]], (4000, 1)).astype(np.int32)
    _, chosen = masked(token_ids, 0.3)
    # 3 of 10: a share of 0.3 with a deviation of sqrt(0.3 * 0.7 / 4000) = 0.0072; four of them.
    np.testing.assert_allclose(chosen[:, 1:11].mean(axis=0), 0.3, atol=0.029)


def test_eight_tenths_are_masked_one_tenth_replaced_one_tenth_kept() -> None:
    token_ids = titles(4000)
    hidden, chosen = masked(token_ids)
    np.testing.assert_array_equal(hidden[~chosen], token_ids[~chosen])
    count = chosen.sum()
    before, after = token_ids[chosen], hidden[chosen]
    # A replacement is the token itself once in len(REGULAR) times.
    by_chance = 0.1 / len(REGULAR)
    for share, seen in (
        (0.8, after == MASK),
        (0.1 + by_chance, after == before),
        (0.1 - by_chance, (after != MASK) & (after != before)),
    ):
        assert abs(seen.mean() - share) < 4 * np.sqrt(share * (1 - share) / count)


def test_replacements_are_all_regular_tokens_equally_often() -> None:
    token_ids = np.full((4000, LENGTH), 9, np.int32)
    hidden, _ = masked(token_ids, 0.99)
    replacements = hidden[(hidden != MASK) & (hidden != 9)]
    tokens, counts = np.unique(replacements, return_counts=True)
    assert set(tokens.tolist()) == set(REGULAR.tolist()) - {9}
    expected = len(replacements) / len(tokens)
    np.testing.assert_allclose(counts, expected, atol=5 * np.sqrt(expected))


@pytest.mark.parametrize("share", [0.15, 0.5])
def test_words_are_chosen_whole_and_in_random_order_until_there_are_enough(share: float) -> None:
    token_ids = titles(400)
    _, chosen = masked(token_ids, share, whole_words=True)
    for row, choice in zip(token_ids, chosen, strict=True):
        words = word_places(row)
        taken = [word for word in words if choice[word].any()]
        assert all(choice[word].all() for word in taken)
        assert choice.sum() == sum(map(len, taken))
        # Enough tokens, and not without the word that was taken last: any of them may be, so the longest counts.
        assert choice.sum() >= wanted(row, share)
        assert choice.sum() - max(map(len, taken), default=0) < max(1, wanted(row, share))


def test_a_single_word_may_be_any_however_long() -> None:
    first = CONTINUING[0]
    token_ids = np.tile([[CLS, 8, 9, first, first + 1, first + 2, 10, SEP]], (4000, 1)).astype(np.int32)
    _, chosen = masked(token_ids, 0.15, whole_words=True)  # one word of three: 8, or 9 with its three, or 10
    np.testing.assert_allclose(chosen[:, [1, 2, 6]].mean(axis=0), 1 / 3, atol=0.03)  # four deviations
    assert (chosen[:, 2:6].all(axis=1) == chosen[:, 2:6].any(axis=1)).all()


def test_a_title_that_begins_inside_a_word_has_that_as_a_word() -> None:
    token_ids = np.array([[CONTINUING[0], CONTINUING[1], 9], [CLS, CONTINUING[0], 9]] * 50, np.int32)
    _, chosen = masked(token_ids, 0.3, whole_words=True)
    assert {tuple(row) for row in chosen[::2].tolist()} == {(True, True, False), (False, False, True)}
    assert {tuple(row) for row in chosen[1::2].tolist()} == {(False, True, False), (False, False, True)}


@pytest.mark.parametrize("whole_words", [False, True])
def test_a_seed_says_it_all_also_in_parallel_pipelines(whole_words: bool) -> None:
    token_ids = titles(32)
    seeds = tf.constant([[seed, 1] for seed in range(8)])

    def mask(seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return mask_tokens(tf.constant(token_ids), seed, MASKING, share=0.15, whole_words=whole_words)

    in_parallel = tf.data.Dataset.from_tensor_slices(seeds).map(mask, num_parallel_calls=4)
    batches = list(in_parallel.as_numpy_iterator())
    for (hidden, chosen), seed in zip(batches, seeds, strict=True):
        expected, its_choice = masked(token_ids, whole_words=whole_words, seed=seed)
        np.testing.assert_array_equal(hidden, expected)
        np.testing.assert_array_equal(chosen, its_choice)
    assert (batches[0][1] != batches[1][1]).any()


def test_a_batch_of_unknown_size_and_a_batch_of_one() -> None:
    in_graph = tf.function(
        lambda token_ids: mask_tokens(token_ids, SEED, MASKING, share=0.15, whole_words=True),
        input_signature=[tf.TensorSpec([None, LENGTH], tf.int32)],
    )
    token_ids = titles(3)[2:]
    hidden, chosen = in_graph(token_ids)
    assert hidden.shape == chosen.shape == (1, LENGTH)
    assert chosen.numpy().sum() in (1, 2)  # of two tokens one, or a word of both
