"""The demo shop's searches: a photo shows what a shopper likes about the item, less of it where nothing was bought."""

import numpy as np
import pytest

from mim_tf.data import demo_searches
from mim_tf.data.demo_behaviour import Impressions
from mim_tf.data.demo_catalogue import draw_catalogue
from mim_tf.data.demo_pictures import MOTIFS, PALETTE
from mim_tf.data.demo_searches import draw_searches


def test_photos_share_tone_and_motif_with_what_was_bought_and_one_with_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown: list[tuple[str, str]] = []

    def draw(category: str, shade: tuple[int, int, int], pattern: str, *args: object, **options: object) -> bytes:
        (tone,) = (name for name, shades in PALETTE.items() if shade in shades.values())
        (motif,) = (name for name, patterns in MOTIFS.items() if pattern in patterns)
        shown.append((tone, motif))
        return b""

    monkeypatch.setattr(demo_searches, "draw_product", draw)
    rng, rows = np.random.default_rng(0), 2000
    catalogue = draw_catalogue(200, 30, rng)
    user, item, bought = rng.integers(9, size=rows), rng.integers(200, size=rows), rng.integers(2, size=rows)
    log = Impressions(user, item, np.arange(rows) * 1000, np.zeros(rows), bought)
    searches = draw_searches(catalogue, log, 500, rng)
    tones, motifs = ([row[part] for row in shown] for part in (0, 1))
    same_tone = np.array(tones) == np.array(list(PALETTE))[catalogue.tone[searches.item]]
    same_motif = np.array(motifs) == np.array(list(MOTIFS))[catalogue.motif[searches.item]]
    is_bought = searches.bought == 1
    assert is_bought.sum() == (~is_bought).sum() == 500
    assert (same_tone & same_motif)[is_bought].all()
    assert (same_tone | same_motif)[~is_bought].all()
    # By chance the other one is the item's too once in four (tones) or three (motifs).
    assert 0.2 < (same_tone & same_motif)[~is_bought].mean() < 0.4
    np.testing.assert_array_equal(log.bought[(searches.second + 300) // 1000], searches.bought)
    np.testing.assert_array_equal(log.user[(searches.second + 300) // 1000], searches.user)
