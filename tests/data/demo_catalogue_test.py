"""The demo shop's items: independent attributes, steady arrivals, titles that do not tell all."""

import itertools

import numpy as np
import pytest

from mim_tf.data.demo_catalogue import CATEGORIES, PATTERN_WORDS, Catalogue, draw_catalogue, write_title
from mim_tf.data.demo_pictures import MOTIFS, PALETTE, PATTERNS
from mim_tf.data.demo_shapes import SHAPES


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return draw_catalogue(600, 120, np.random.default_rng(0))


def test_names_of_the_tables_agree() -> None:
    assert list(CATEGORIES) == list(SHAPES)
    assert sorted(pattern for motif in MOTIFS.values() for pattern in motif) == sorted(PATTERNS)
    assert set(PATTERN_WORDS) == set(PATTERNS)
    assert {len(shades) for shades in PALETTE.values()} == {4}


def test_content_marks_one_value_of_each_attribute(catalogue: Catalogue) -> None:
    content = catalogue.content()
    assert content.shape == (600, 4 + 3 + 3)
    for block in np.split(content, [4, 7], axis=1):
        np.testing.assert_array_equal(block.sum(axis=1), 1)
    np.testing.assert_array_equal(content[:, :4].argmax(axis=1), catalogue.tone)


def test_attributes_do_not_tell_each_other(catalogue: Catalogue) -> None:
    attributes = (catalogue.category, catalogue.tone, catalogue.motif, catalogue.material, catalogue.community)
    for one, other in itertools.combinations(attributes, 2):
        counts = np.zeros((one.max() + 1, other.max() + 1))
        np.add.at(counts, (one, other), 1)
        expected = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / 600
        # Pearson's chi-squared: its mean is the degrees of freedom, its variance twice that.
        freedom = (counts.shape[0] - 1) * (counts.shape[1] - 1)
        assert ((counts - expected) ** 2 / expected).sum() < freedom + 4 * np.sqrt(2 * freedom)


def test_new_items_arrive_at_an_even_pace_until_the_end(catalogue: Catalogue) -> None:
    arrivals = np.histogram(catalogue.arrival_day, bins=12, range=(0, 120))[0]
    assert (catalogue.arrival_day <= 0).sum() >= 300  # the opening stock
    assert set(arrivals[1:]) <= {24, 25, 26}  # 300 newcomers in 12 x 10 days
    assert catalogue.arrival_day.max() == 119


def test_titles_leave_things_to_the_picture(catalogue: Catalogue) -> None:
    rng = np.random.default_rng(1)
    titles = [write_title(catalogue, item, rng).lower() for item in range(600)]
    patterns = [catalogue.look(item).pattern for item in range(600)]
    shades = [shade for tone in PALETTE.values() for shade in tone]
    told = [any(word in title for word in PATTERN_WORDS[p]) for title, p in zip(titles, patterns, strict=True)]
    coloured = [any(f"{shade} " in title for shade in shades) for title in titles]
    assert 0.4 < np.mean(told) < 0.6
    assert 0.5 < np.mean(coloured) < 0.7
    assert len(set(titles)) > 0.9 * len(titles)
