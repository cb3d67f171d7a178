"""The README's example of our layers in another model runs as it is printed, in both Kerases."""

import re
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.both_kerases

README = Path(__file__).parent.parent / "README.md"


def example() -> str:
    """The first Python block below the heading."""
    section = README.read_text(encoding="utf-8").split("## The layers in your own model")[1]
    block = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert block
    return block[1]


def test_it_is_short() -> None:
    assert len([line for line in example().splitlines() if line and "import" not in line]) <= 10


def test_it_trains() -> None:
    names: dict[str, object] = {}
    exec(compile(example(), str(README), "exec"), names)  # noqa: S102
    model, rng = names["model"], np.random.default_rng(0)
    before = [weight.copy() for weight in model.get_weights()]
    impressions = [rng.integers(1, 100, [64]), rng.integers(0, 100, [64, 20])]
    model.fit(impressions, rng.integers(0, 2, [64]).astype(np.float32), epochs=2, verbose=0)
    moved = [np.any(old != new) for old, new in zip(before, model.get_weights(), strict=True)]
    assert sum(moved) >= len(moved) - 1  # all but the content embeddings, which are yours and stay
