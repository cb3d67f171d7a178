"""Which folder may import which, and what importing the package does to the host program."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# A folder or top-level module of ours -> the others of ours it may import. ARCHITECTURE.md gives the reasons.
EVERYBODY = {"engine", "errors", "spark"}
ALLOWED = {
    "errors": set(),
    "engine": set(),
    "spark": set(),
    "image_decoding": set(),
    "data": {"image_decoding"},
    "encoders": {"image_decoding"},
    "contrastive": set(),
    "interest": set(),
    "metrics": set(),
    "figures": {"metrics"},
    "pages": {"figures"},
    "serving": {"representation"},
    "encoder_names": set(),
    "settings": {"encoder_names"},
    "workdir": {"settings"},
    "commandline": {"settings"},
    "representation": {"commandline"},
    "pretraining": {"contrastive", "data", "encoders"},
    "finetuning": {"contrastive", "data", "encoders"},
    "ranking": {"interest", "representation"},
    "training": {
        *(
            "commandline",
            "contrastive",
            "data",
            "encoders",
            "figures",
            "finetuning",
            "interest",
            "metrics",
            "pretraining",
            "ranking",
            "representation",
        ),
        *("settings", "workdir"),
    },
    "export": {
        "commandline",
        "data",
        "interest",
        "ranking",
        "representation",
        "serving",
        "settings",
        "training",
        "workdir",
    },
    "realtime": {"commandline", "data", "representation", "serving", "settings", "training", "workdir"},
    "serve_check": {"commandline", "export", "representation", "serving", "settings", "training", "workdir"},
    "prepare": {"commandline", "training"},
    "represent": {"commandline", "training"},
    "train": {"commandline", "training", "workdir"},
    "evaluate": {"commandline", "training", "workdir"},
    "tensorboard": {"commandline", "workdir"},
    "demo": {"commandline", "data", "serving", "settings"},
    "report": {
        *("commandline", "data", "figures", "interest", "metrics", "pages", "representation", "settings", "training"),
        "workdir",
    },
    "efficiency": {"commandline", "ranking", "settings", "training", "workdir"},
    "experiment": {
        *("commandline", "data", "efficiency", "figures", "metrics", "pages", "settings", "training", "workdir"),
    },
    "cluster_check": {"commandline", "data", "training", "workdir"},
}


def sources() -> dict[str, list[Path]]:
    """The files of each folder or top-level module."""
    files: dict[str, list[Path]] = {"export": [], "serving": []}
    for path in (ROOT / "mim_tf").rglob("*.py"):
        name = path.relative_to(ROOT / "mim_tf").parts[0].removesuffix(".py")
        files.setdefault(name, []).append(path)
    for name in ("export", "serving"):
        files[name] += (ROOT / name).rglob("*.py")
    return files


def imported(path: Path) -> set[str]:
    """The folders and modules of ours that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names |= {module.split(".")[1] for module in modules if module.startswith("mim_tf.")}
    return names


@pytest.mark.parametrize("folder", sorted(set(sources()) - {"__init__"}))
def test_imports_stay_within_what_the_folder_builds_on(folder: str) -> None:
    allowed = ALLOWED[folder] | EVERYBODY | {folder}
    for path in sources()[folder]:
        assert imported(path) <= allowed, path


def test_importing_the_package_imports_no_tensorflow() -> None:
    code = (
        "import sys, mim_tf, mim_tf.settings, mim_tf.workdir; print(sorted({'tensorflow', 'keras'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_tfrs_in_the_wrong_keras_says_what_to_set() -> None:
    code = "import mim_tf.ranking.tfrs_model"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "Set TF_USE_LEGACY_KERAS=1 in the environment before TensorFlow is imported" in run.stderr
