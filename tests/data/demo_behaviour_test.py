"""The two tastes of the demo shop's users can be found again by simple predictors of our own.

History is always the user's strictly earlier purchases; everything is judged on the last fifth of the log.
"""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from mim_tf.data.demo_behaviour import DAY_SECONDS, Impressions, draw_fashions, draw_tastes, simulate
from mim_tf.data.demo_catalogue import CATEGORIES, Catalogue, draw_catalogue


def _shop(
    items: int = 600,
    users: int = 800,
    content_strength: float = 1.0,
    id_strength: float = 1.0,
    fashion_strength: float = 0.0,
) -> tuple[Catalogue, Impressions]:
    rng = np.random.default_rng(0)
    catalogue, tastes = draw_catalogue(items, 120, rng), draw_tastes(users, rng)
    log = simulate(
        catalogue,
        tastes,
        draw_fashions(120, np.random.default_rng(1)),
        rng,
        content_strength=content_strength,
        id_strength=id_strength,
        fashion_strength=fashion_strength,
    )
    return catalogue, log


@pytest.fixture(scope="module")
def shop() -> tuple[Catalogue, Impressions]:
    return _shop()


@pytest.fixture(scope="module")
def evidence(shop: tuple[Catalogue, Impressions]) -> "Evidence":
    return Evidence(*shop)


class Evidence:
    """For every impression, what the user's strictly earlier purchases say about the item."""

    def __init__(self, catalogue: Catalogue, log: Impressions) -> None:
        user, item = log.user, log.item
        self.label, self.logit = log.bought, log.logit
        self.train = log.second < np.quantile(log.second, 0.8)
        self.new = ~self.train & ~np.isin(item, item[self.train])
        self.category = catalogue.category[item]

        hots = [_one_hot(values) for values in (catalogue.tone, catalogue.motif, catalogue.material)]
        content = np.concatenate(hots, axis=1) / np.sqrt(3)
        bought = self.train & (self.label == 1)
        together = _co_purchase(user[bought], item[bought], len(catalogue))
        alike = np.stack([content @ content.T, _same(catalogue.community), together])
        self.content, self.community, self.co_purchase = _mean_over_history(log, alike)

    def auc(self, score: np.ndarray, rows: np.ndarray | None = None) -> float:
        """AUC on the last fifth of the log, or on these rows."""
        rows = ~self.train if rows is None else rows
        return roc_auc_score(self.label[rows], score[rows])


def _one_hot(values: np.ndarray) -> np.ndarray:
    return (values[:, None] == np.unique(values)).astype(np.float64)


def _same(values: np.ndarray) -> np.ndarray:
    return (values[:, None] == values).astype(np.float64)


def _co_purchase(user: np.ndarray, item: np.ndarray, items: int) -> np.ndarray:
    """How much oftener than by chance two items were bought by one user, its noise cut off at twelve dimensions."""
    basket = np.zeros((user.max() + 1, items))
    basket[user, item] = 1
    buyers = basket.sum(axis=0)
    expected = np.outer(buyers, buyers) / buyers.sum() * basket.sum(axis=1).mean()
    surprise = (basket.T @ basket - expected) / np.sqrt(expected + 1)
    np.fill_diagonal(surprise, 0)
    known = buyers > 0
    values, vectors = np.linalg.eigh(surprise[np.ix_(known, known)])
    alike = np.zeros((items, items))
    alike[np.ix_(known, known)] = (vectors[:, -12:] * np.maximum(values[-12:], 0)) @ vectors[:, -12:].T
    return alike


def _mean_over_history(log: Impressions, alike: np.ndarray) -> np.ndarray:
    user, item = log.user, log.item
    scores = np.zeros((len(alike), len(user)))
    for one in np.unique(user):
        rows = np.flatnonzero(user == one)
        times, bought = log.second[rows], rows[log.bought[rows] == 1]
        # [rows, purchases]: which purchases lie strictly before which impressions
        earlier = (log.second[bought] < times[:, None]).astype(np.float64)
        likeness = alike[:, item[rows][:, None], item[bought]]
        scores[:, rows] = (likeness * earlier).sum(axis=-1) / np.maximum(earlier.sum(axis=-1), 1)
    return scores


def _fitted(evidence: Evidence, *features: np.ndarray) -> np.ndarray:
    """A logistic regression's probabilities on the last fifth: each half of the rows is scored by the other's fit.

    It is not fitted on the training rows: the co-purchase counts have seen their labels.
    """
    inputs = np.stack(features, axis=1)
    inputs = inputs / inputs[~evidence.train].std(axis=0)
    fold = np.arange(len(inputs)) % 2
    score = np.zeros(len(inputs))
    for half in (0, 1):
        fit = ~evidence.train & (fold != half)
        model = LogisticRegression().fit(inputs[fit], evidence.label[fit])
        score[fold == half] = model.predict_proba(inputs[fold == half])[:, 1]
    return score


def test_log_has_the_promised_size(shop: tuple[Catalogue, Impressions]) -> None:
    log = shop[1]
    purchases = np.bincount(log.user, log.bought)
    assert 40_000 <= len(log.bought) <= 60_000
    assert set(log.bought) == {0, 1}
    assert 0.19 < log.bought.mean() < 0.21
    assert len(purchases) == 800
    assert np.mean((purchases >= 5) & (purchases <= 20)) > 0.7
    assert np.all(np.diff(log.second) >= 0)


def test_a_session_shows_different_items(shop: tuple[Catalogue, Impressions]) -> None:
    log = shop[1]
    sessions = np.stack([log.user, log.second], axis=1)
    shown = np.unique(sessions, axis=0, return_counts=True)[1]
    assert set(shown) == {4, 5, 6}
    assert len(np.unique(np.column_stack([sessions, log.item]), axis=0)) == len(sessions)


def test_validation_meets_new_items(evidence: Evidence) -> None:
    assert 0.05 < evidence.new.sum() / (~evidence.train).sum() < 0.15


def test_truth_is_near_the_ceiling_and_nothing_simple_gives_it_away(evidence: Evidence) -> None:
    assert 0.80 < evidence.auc(evidence.logit) < 0.87
    rate = {
        name: evidence.label[evidence.train & (evidence.category == name)].mean() for name in range(len(CATEGORIES))
    }
    assert evidence.auc(np.array([rate[name] for name in evidence.category])) < 0.56


def test_content_and_co_purchases_each_tell_something_the_other_does_not(evidence: Evidence) -> None:
    content = evidence.auc(_fitted(evidence, evidence.content))
    co_purchase = evidence.auc(_fitted(evidence, evidence.co_purchase))
    both = evidence.auc(_fitted(evidence, evidence.content, evidence.co_purchase))
    assert 0.66 < content < 0.75
    assert 0.58 < co_purchase < 0.66
    assert both > content + 0.015
    assert both > co_purchase + 0.05
    # With the communities known, the history would tell more still.
    assert evidence.auc(_fitted(evidence, evidence.content, evidence.community)) > both + 0.03


def test_new_items_have_content_alone(evidence: Evidence) -> None:
    assert evidence.auc(evidence.co_purchase, evidence.new) == 0.5
    assert evidence.auc(evidence.content, evidence.new) > 0.63


def test_clothes_are_bought_for_their_looks_more_than_homeware(evidence: Evidence) -> None:
    last = ~evidence.train
    names = np.array(list(CATEGORIES))[evidence.category]
    clothes = evidence.auc(evidence.content, last & np.isin(names, ["T-shirt", "dress", "trousers", "hat"]))
    homeware = evidence.auc(evidence.content, last & np.isin(names, ["mug", "chair", "lamp"]))
    assert clothes > homeware + 0.05


@pytest.mark.parametrize(("gone", "left"), [("content", "community"), ("id", "content")])
def test_a_taste_of_strength_0_is_gone(gone: str, left: str) -> None:
    evidence = Evidence(*_shop(items=100, users=500, **{f"{gone}_strength": 0.0}))
    predictors = {"content": evidence.content, "community": evidence.community}
    removed = predictors["content" if gone == "content" else "community"]
    assert abs(evidence.auc(removed) - 0.5) < 0.03
    assert evidence.auc(predictors[left]) > 0.62


def test_fashions_move_what_everyone_buys() -> None:
    """The rate of each tone, month by month, follows the fashion that the log was drawn with, and else nothing."""
    height = draw_fashions(120, np.random.default_rng(1))
    follows = {}
    for strength in (0.0, 1.0):
        catalogue, log = _shop(content_strength=0.0, id_strength=0.0, fashion_strength=strength)
        month, tone = log.second // (30 * DAY_SECONDS), catalogue.tone[log.item]
        of = [(when, which) for when in range(4) for which in np.unique(tone)]
        rates = [log.bought[(month == when) & (tone == which)].mean() for when, which in of]
        follows[strength] = np.corrcoef(rates, [height[30 * when : 30 * when + 30, which].mean() for when, which in of])
    assert follows[1.0][0, 1] > 0.7
    assert abs(follows[0.0][0, 1]) < 0.4


def test_a_fashion_has_the_promised_spread() -> None:
    """A sum of three waves with variances 0.45, 0.4 and 0.15, of a tone, a motif and a material: of variance 1."""
    fashions = draw_fashions(100_000, np.random.default_rng(0))
    tone, motif, material = 0, -4, -1
    assert fashions[:, [tone, motif, material]].sum(axis=1).std() == pytest.approx(1.0, rel=0.01)
