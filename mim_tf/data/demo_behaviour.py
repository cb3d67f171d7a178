"""The demo shop's customers: what they like, what they are shown and what they buy.

User u, shown item i, buys it with probability `sigmoid(logit)`:

```
logit(u, i) = content_strength * content_weight[category(i)] * <taste(u), content(i)>
            + id_strength * affinity(u, community(i)) + popularity(i)
            + fashion_strength * <fashion(day), content(i)> + intercept
```

`content(i)` is the one-hot tone, motif and material: what the picture and the title tell. A user's taste is
the same in every category. `affinity` is liking for hidden communities of items that only co-purchases reveal, as item
IDs can learn them. `fashion` is what all users like more on some days than on others. The intercept makes a fifth of
the impressions purchases.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mim_tf.data.demo_catalogue import COMMUNITIES, MATERIAL_TASTES, Catalogue
from mim_tf.data.demo_pictures import MOTIFS, PALETTE

BUY_RATE = 0.2
SESSIONS_MEAN = 14.5
FEWEST_SHOWN, MOST_SHOWN = 4, 6
LIKED_COMMUNITIES = 1
# A newcomer is shown this many times as often as an old item, which wears off within days.
NEW_BOOST, NEW_BOOST_DAYS = 2.0, 10.0

# Standard deviations, over items, of the two tastes' parts of the logit at strength 1 and content weight 1.
CONTENT_SPREAD = 1.28
ID_SPREAD = 1.02
# How that variance is divided among tone, motif and material.
CONTENT_SHARES = (0.45, 0.4, 0.15)

# Standard deviation, over items and days, of the fashion's part of the logit at strength 1.
FASHION_SPREAD = 1.0
# How soon what was in fashion is so again.
SHORTEST_FASHION_DAYS, LONGEST_FASHION_DAYS = 60.0, 120.0

DAY_SECONDS = 24 * 60 * 60
OPENS_SECONDS, CLOSES_SECONDS = 7 * 60 * 60, 23 * 60 * 60


@dataclass(frozen=True)
class Tastes:
    """What each user likes: content [users, content values] and communities [users, communities]."""

    content: np.ndarray
    affinity: np.ndarray


@dataclass(frozen=True)
class Impressions:
    """One array entry per shown item, in order of time; users and items are row numbers."""

    user: np.ndarray
    item: np.ndarray
    second: np.ndarray  # since the log began
    logit: np.ndarray
    bought: np.ndarray


def draw_tastes(users: int, rng: np.random.Generator) -> Tastes:
    """Each user likes few of the tones, motifs and materials, and `LIKED_COMMUNITIES` communities."""
    blocks = []
    for values, share in zip((len(PALETTE), len(MOTIFS), len(MATERIAL_TASTES)), CONTENT_SHARES, strict=True):
        liking = _standardised(rng.dirichlet(np.full(values, 0.2), size=users))
        blocks.append(CONTENT_SPREAD * np.sqrt(share) * liking)
    order = np.argsort(rng.random((users, COMMUNITIES)), axis=1)
    affinity = ID_SPREAD * _standardised((order < LIKED_COMMUNITIES).astype(np.float64))
    return Tastes(content=np.concatenate(blocks, axis=1), affinity=affinity)


def draw_fashions(days: int, rng: np.random.Generator) -> np.ndarray:
    """How much each content value is liked by all users, `[days, content values]`: waves, each of its own length."""
    sizes = (len(PALETTE), len(MOTIFS), len(MATERIAL_TASTES))
    height = FASHION_SPREAD * np.sqrt(2 * np.repeat(CONTENT_SHARES, sizes))  # a sine's variance is a half
    length = rng.uniform(SHORTEST_FASHION_DAYS, LONGEST_FASHION_DAYS, sum(sizes))
    return height * np.sin(2 * np.pi * (np.arange(days)[:, np.newaxis] / length + rng.random(sum(sizes))))


def simulate(
    catalogue: Catalogue,
    tastes: Tastes,
    fashions: np.ndarray,
    rng: np.random.Generator,
    *,
    content_strength: float,
    id_strength: float,
    fashion_strength: float,
) -> Impressions:
    """Lets every user visit the shop on as many days as `fashions` has; the formula is at the top of this file."""
    user, item, second = _show(catalogue, len(tastes.affinity), len(fashions), rng)
    content = catalogue.content()[item]
    liking = np.einsum("nc,nc->n", tastes.content[user], content)
    in_fashion = np.einsum("nc,nc->n", fashions[second // DAY_SECONDS], content)
    logit = (
        content_strength * catalogue.content_weight()[item] * liking
        + id_strength * tastes.affinity[user, catalogue.community[item]]
        + catalogue.popularity[item]
        + fashion_strength * in_fashion
    )
    logit += _intercept(logit)
    bought = rng.random(len(logit)) < _sigmoid(logit)
    # Within a session the order is that of the items, so that it tells nothing about what was bought.
    order = np.lexsort((item, user, second))
    return Impressions(user[order], item[order], second[order], logit[order], bought[order].astype(np.int64))


def _show(
    catalogue: Catalogue, users: int, days: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """User, item and second of every impression; a session's candidates share one second."""
    # Gamma-distributed rates: some users come several times as often as others.
    sessions = 1 + rng.poisson(rng.gamma(12.0, (SESSIONS_MEAN - 1) / 12.0, size=users))
    visitor = np.repeat(np.arange(users), sessions)
    day = rng.integers(days, size=len(visitor))
    second = day * DAY_SECONDS + rng.integers(OPENS_SECONDS, CLOSES_SECONDS, size=len(visitor))
    shown = [
        (session, candidate)
        for today in range(days)
        for session in np.flatnonzero(day == today).tolist()
        for candidate in _candidates(catalogue, today, rng)
    ]
    session, item = np.array(shown, np.int64).T
    return visitor[session], item, second[session]


def _candidates(catalogue: Catalogue, today: int, rng: np.random.Generator) -> list[int]:
    """Different items that have arrived by today, newcomers more often than others."""
    alive = np.flatnonzero(catalogue.arrival_day <= today)
    weight = 1.0 + (NEW_BOOST - 1.0) * np.exp((catalogue.arrival_day[alive] - today) / NEW_BOOST_DAYS)
    count = int(rng.integers(FEWEST_SHOWN, MOST_SHOWN + 1))
    return rng.choice(alive, size=count, replace=False, p=weight / weight.sum()).tolist()


def _intercept(logit: np.ndarray) -> float:
    """What must be added to the logits for `BUY_RATE` of them to be bought, found by bisection."""
    low, high = -30.0, 30.0
    for _ in range(60):
        middle = (low + high) / 2
        too_few = _sigmoid(logit + middle).mean() < BUY_RATE
        low, high = (middle, high) if too_few else (low, middle)
    return low


def _standardised(liking: np.ndarray) -> np.ndarray:
    """Each user's row shifted and scaled to mean 0 and standard deviation 1."""
    centred = liking - liking.mean(axis=1, keepdims=True)
    return centred / centred.std(axis=1, keepdims=True)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-x))
