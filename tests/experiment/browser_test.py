"""The report of an experiment in a headless Chromium: nothing to complain of, pictures there, no wider than a phone."""

from pathlib import Path
from typing import Any

import pytest

from mim_tf.experiment.page import sheet_section
from mim_tf.pages.page import page
from tests.experiment.sheet_test import SHEET
from tests.pages.chromium import look_at, needs_chromium

pytestmark = needs_chromium

LOOK = """(page) => ({
  images: [...page.images].map((image) => image.naturalWidth),
  page: page.documentElement.scrollWidth,
  screen: page.documentElement.clientWidth,
  rows: [...page.querySelectorAll("tbody th")].map((name) => name.textContent),
  links: [...page.querySelectorAll("nav a")].map((link) => page.getElementById(link.hash.slice(1)) !== null),
})"""


@pytest.mark.parametrize("width", [360, 1280])
def test_the_report_works(width: int, tmp_path: Path) -> None:
    seen: dict[str, Any]
    text = page("Tables", "of a test", [sheet_section(SHEET)])
    seen, console = look_at(text, LOOK, width=width, folder=tmp_path)
    assert console == []
    assert len(seen["images"]) == 1
    assert min(seen["images"]) > 0
    assert seen["page"] <= seen["screen"] <= width
    assert seen["rows"] == ["Base", "a|b <script>", "c", "Base"]
    assert seen["links"] == [True]
