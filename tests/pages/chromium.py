"""A page in a real browser: what it shows, and what it complains of."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH")

# The page stands in a frame, since a window may not be as narrow as a phone. Its own policy and script hold there too.
_AROUND = """<!DOCTYPE html><meta charset="utf-8"><body><pre id="seen"></pre><script>
const frame = document.createElement("iframe");
frame.style = "width: %(width)dpx; height: 800px; border: 0";
frame.onload = () => {
  const seen = (%(look)s)(frame.contentDocument);
  document.getElementById("seen").textContent = JSON.stringify(seen);
};
frame.srcdoc = %(page)s;
document.body.append(frame);
</script></body>"""


def look_at(page: str, look: str, *, width: int, folder: Path) -> tuple[Any, list[str]]:
    """Open a page.

    Args:
        page: its HTML.
        look: a function in JavaScript that gets the page's document and returns what JSON can hold.
        width: of the screen, in pixels.
        folder: for the browser's files.

    Returns:
        What `look` returned, and the lines of the browser's console.
    """
    literal = json.dumps(page).replace("</", "<\\/").replace("<!--", "<\\!--")
    around = folder / "around.html"
    around.write_text(_AROUND % {"width": width, "look": look, "page": literal}, encoding="utf-8")
    command = [str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    command += [f"--user-data-dir={folder / 'profile'}", "--no-first-run", "--enable-logging=stderr"]
    command += ["--virtual-time-budget=20000", "--timeout=120000", "--dump-dom", around.as_uri()]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    found = re.search(r'<pre id="seen">(.*?)</pre>', ran.stdout, re.DOTALL)
    assert found is not None, ran.stderr
    seen = json.loads(html.unescape(found[1]))
    return seen, [line for line in ran.stderr.splitlines() if ":CONSOLE" in line]
