"""TF Text's shared objects, found without loading them."""

import subprocess
import sys

import pytest

from mim_tf.errors import ExportError
from mim_tf.export.gate.text_ops import text_libraries

CODE = """
import sys
from mim_tf.export.gate.text_ops import text_libraries
print(len(text_libraries()), "tensorflow_text" in sys.modules)
"""


def test_they_are_found_by_path() -> None:
    libraries = {path.name for path in text_libraries()}
    assert {"_fast_wordpiece_tokenizer.so", "_sentencepiece_tokenizer.so"} <= libraries


@pytest.mark.slow
def test_they_are_found_without_importing_tf_text() -> None:
    run = subprocess.run([sys.executable, "-c", CODE], check=True, capture_output=True, text=True, timeout=300)
    assert run.stdout.split() == [str(len(text_libraries())), "False"]


def test_where_tf_text_is_not_installed_its_ops_cannot_be_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow_text", None)
    with pytest.raises(ExportError, match=r"`text_ops` must be off where tensorflow-text is not installed"):
        text_libraries()
