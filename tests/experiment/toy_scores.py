"""Predictions of a model that is as good as a test wants it."""

import numpy as np

from mim_tf.training.scoring import Scored

IMPRESSIONS = 2000


def scored(skill: float, seed: int, *, categories: tuple[str, ...] = ("shirt", "mug"), rare: int = 20) -> Scored:
    """Impressions that do not depend on the seed; the first category is scored twice as well, a rare one badly."""
    world, noise = np.random.default_rng(0), np.random.default_rng(seed + 1)
    labels = (world.random(IMPRESSIONS) < 0.3).astype(np.int64)
    users, items = world.integers(100, size=IMPRESSIONS), world.integers(50, size=IMPRESSIONS)
    kinds = world.integers(len(categories), size=IMPRESSIONS)
    names = np.array([name.encode() for name in categories], object)[kinds]
    names[:rare] = b"rare"
    skills = skill * np.where(kinds == 0, 2, 1)
    logits = skills * (2 * labels - 1) + noise.normal(size=IMPRESSIONS)
    probabilities = (1 / (1 + np.exp(-logits))).astype(np.float32)
    ages, timestamps = world.permutation(IMPRESSIONS), np.arange(IMPRESSIONS)
    return Scored(labels, users, items, timestamps, names, ages, probabilities)
