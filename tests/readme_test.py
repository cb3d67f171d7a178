"""The README's examples of our layers run as they are printed, in both Kerases."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.both_kerases

README = Path(__file__).parent.parent / "README.md"


def example(number: int = 0) -> str:
    """A Python block below the heading."""
    section = README.read_text(encoding="utf-8").split("## The layers in your own model")[1]
    blocks: list[str] = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    return blocks[number]


def test_no_section_stands_there_twice() -> None:
    headings = re.findall(r"^## .*", README.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(headings) == len(set(headings))


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


def test_a_kept_state_gives_what_the_layers_give() -> None:
    from mim_tf.interest import ContentInterest, FusionInterest

    rng = np.random.default_rng(0)
    shapes = {"history_content": (2, 9, 3), "history_ids": (2, 9, 4), "bought_content": (2, 3), "bought_id": (2, 4)}
    shapes["candidates_content"] = (2, 5, 3)
    names: dict[str, Any] = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    names["mask"] = rng.random((2, 9)) < 0.7
    exec(compile(example(1), str(README), "exec"), names)  # noqa: S102
    contents = np.concatenate([names["history_content"], names["bought_content"][:, np.newaxis]], axis=1)
    ids = np.concatenate([names["history_ids"], names["bought_id"][:, np.newaxis]], axis=1)
    mask = np.concatenate([names["mask"], np.ones((2, 1), bool)], axis=1)
    content = ContentInterest()(names["candidates_content"], contents, mask=mask)
    fusion = FusionInterest()(names["candidates_content"], contents, ids, mask=mask)
    np.testing.assert_allclose(names["h_mm"], content, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(names["h_fus"], fusion, rtol=1e-4, atol=1e-5)
