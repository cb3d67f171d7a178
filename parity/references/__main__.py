"""`python -m parity.references FOLDER [case ...]`: write the cases, all of them or those named, into a folder."""

from __future__ import annotations

import importlib
import shutil
import sys
import warnings
from pathlib import Path

import transformers  # before the stand-in is seen, so that it does not take it for the real one

sys.path.append(str(Path(__file__).parents[1] / "stand_ins"))
FAMILIES = (
    "beit3",
    "bert",
    "convnext",
    "dinov2",
    "dinov3",
    "eva02",
    "gpt2",
    "llama",
    "qwen3",
    "resnet",
    "siglip",
    "swin",
    "vit",
    "xlm_roberta",
)


def main(folder: Path, names: list[str]) -> None:
    """Make the cases one after the other; one that fails ends the command."""
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    references = {}
    for family in FAMILIES:
        references.update(importlib.import_module(f"parity.references.{family}").REFERENCES)
    unknown = sorted(set(names) - set(references))
    if unknown:
        raise SystemExit(f"no such case: {', '.join(unknown)}. Known: {', '.join(sorted(references))}.")
    if not names:  # also what cases of another name left
        shutil.rmtree(folder, ignore_errors=True)
    for name in names or references:
        print(name, flush=True)
        shutil.rmtree(folder / name, ignore_errors=True)
        references[name](folder / name)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
