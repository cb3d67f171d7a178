"""The cases that `python -m parity.references` wrote, one by one."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from parity.case import Case

CASES = Path(os.environ.get("PARITY_CASES", "build/parity"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One run for each case of the modality in the test's module name."""
    if "case" not in metafunc.fixturenames:
        return
    modality = metafunc.module.__name__.rpartition(".")[2].removesuffix("_test")
    folders = [path.parent for path in sorted(CASES.glob("*/case.json"))]
    if not folders:
        raise pytest.UsageError(f"{CASES} has no cases: run `make parity`.")
    chosen = [folder for folder in folders if _describe(folder)["modality"] == modality]
    if metafunc.function.__name__.startswith("test_input"):
        chosen = [folder for folder in chosen if modality == "text" or (folder / "pixels.safetensors").is_file()]
    metafunc.parametrize("case", chosen, ids=[folder.name for folder in chosen], indirect=True)


def cases() -> list[dict[str, Any]]:
    """What `case.json` says of each case."""
    return [_describe(path.parent) for path in sorted(CASES.glob("*/case.json"))]


@pytest.fixture
def case(request: pytest.FixtureRequest) -> Case:
    """One of the reference's cases."""
    folder = request.param
    return Case(folder, _describe(folder), load_file(folder / "arrays.safetensors"))


def _describe(folder: Path) -> dict[str, Any]:
    described: dict[str, Any] = json.loads((folder / "case.json").read_text(encoding="utf-8"))
    return described
