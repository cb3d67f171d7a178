"""The page in a headless Chromium: nothing to complain of, all pictures there, no wider than a phone."""

from pathlib import Path
from typing import Any

import pytest

from tests.pages.chromium import look_at, needs_chromium
from tests.report.conftest import Run
from tests.report.toy_run import EVIL

pytestmark = needs_chromium

# Widths of all images; how wide page and screen are; what was fetched; titles; weights before and after a tap.
LOOK = """(page) => {
  const resources = page.defaultView.performance.getEntriesByType("resource");
  const user = page.querySelector(".user");
  const weights = () => [...user.querySelectorAll(".weight")].map((weight) => weight.textContent);
  const before = weights();
  const candidates = [...user.querySelectorAll("[data-weights]")];
  const last = candidates[candidates.length - 1];
  last.click();
  return {
    images: [...page.images].map((image) => image.naturalWidth),
    page: page.documentElement.scrollWidth,
    screen: page.documentElement.clientWidth,
    fetched: resources.map((resource) => resource.name).filter((name) => !name.startsWith("data:")),
    title: page.title,
    texts: [...page.querySelectorAll(".title")].map((title) => title.textContent),
    before, after: weights(), expected: last.dataset.weights.split(","),
    negative: [...user.querySelectorAll(".weight.negative")].map((weight) => weight.textContent),
    pressed: candidates.map((candidate) => candidate.getAttribute("aria-pressed")),
  };
}"""


@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_works(run: Run, width: int, tmp_path: Path) -> None:
    seen: dict[str, Any]
    seen, console = look_at(run.page, LOOK, width=width, folder=tmp_path)
    assert console == []
    assert len(seen["images"]) > 100
    assert min(seen["images"]) > 0
    assert seen["page"] <= seen["screen"] <= width
    assert seen["fetched"] == []
    assert seen["title"] == "What a run learned"
    assert all(text.startswith(EVIL) for text in seen["texts"] if text != "a photo")
    assert seen["after"] == seen["expected"] != seen["before"]
    assert seen["negative"] == [weight for weight in seen["after"] if float(weight) < 0]
    assert seen["pressed"] == ["false"] * (len(seen["pressed"]) - 1) + ["true"]


def test_markup_that_slipped_in_would_not_run(run: Run, tmp_path: Path) -> None:
    spoilt = run.page.replace(
        "<h1>", "<script>document.title = 'run'</script><img src='https://example.com/x.png'><h1>", 1
    )
    title, console = look_at(spoilt, "(page) => page.title", width=400, folder=tmp_path)
    assert title == "What a run learned"
    assert len([line for line in console if "Content Security Policy" in line]) == 2
