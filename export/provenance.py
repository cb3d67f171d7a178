"""What a published model came from, in a file beside it."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import tensorflow as tf

from mim_tf import __version__
from mim_tf.errors import ExportError
from mim_tf.export.gate import GateReport
from mim_tf.export.warm_up import EXTRA
from mim_tf.representation import StoredEmbeddings
from mim_tf.settings import Settings
from mim_tf.training.represent import fingerprint_file
from mim_tf.workdir import StageFolder, earlier_stages

_FILE = "provenance.json"


def write_provenance(
    folder: Path, settings: Settings, made_by: StageFolder, stored: StoredEmbeddings | None, report: GateReport
) -> None:
    """Write down what a model was made of: settings, code, data, embeddings, and what the gate found.

    Args:
        folder: of the SavedModel.
        settings: of the run.
        made_by: the stage that trained what is in it.
        stored: the embeddings that are in it or that it is for; None if there are none.
        report: of the gate.

    Raises:
        OSError: the file cannot be written.
    """
    stages = [*earlier_stages(made_by.stage, settings), made_by.stage]
    provenance = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "code": {"mim_tf": __version__, "tensorflow": tf.__version__, "git": _git_revision()},
        # What a running process is told may be secret, and shapes no model.
        "settings": _without_secrets(settings.model_dump(mode="json", exclude={"realtime"})),
        "stages": {stage: StageFolder(made_by.workdir, stage).metrics for stage in stages},
        "encoder": fingerprint_file(StageFolder(made_by.workdir, "represent")).read_text(encoding="utf-8").strip(),
        "embeddings": None if stored is None else _told(stored),
        "gate": report.to_json(),
    }
    path = folder / EXTRA / _FILE
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(provenance, indent=2) + "\n", encoding="utf-8")


def read_provenance(folder: Path) -> dict[str, Any] | None:
    """What `write_provenance` wrote; None where a model has none.

    Raises:
        ExportError: the file is damaged.
    """
    path = folder / EXTRA / _FILE
    if not path.exists():
        return None
    try:
        provenance: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ExportError(f"{path} must be JSON, as `mim_tf.export` writes it. Received: {error}.") from error
    return provenance


def _told(stored: StoredEmbeddings) -> dict[str, Any]:
    count, dim = stored.embeddings.shape
    told = {"store": stored.store, "version": stored.version}
    return told | {"items": count, "dim": dim, "shard": stored.part.number, "shards": stored.part.total}


def _without_secrets(tree: Any) -> Any:
    """Settings without what URIs may hold beside a place: users, passwords, signatures."""
    if isinstance(tree, dict):
        return {name: _without_secrets(value) for name, value in tree.items()}
    if isinstance(tree, list):
        return [_without_secrets(value) for value in tree]
    if isinstance(tree, str) and "://" in tree:
        parts = urlsplit(tree)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    return tree


def _git_revision() -> str | None:
    """The revision of the folder that the command runs in, with + if files differ from it; None without git.

    Configurations and the scripts around them are kept there; what this package is, its version says.
    """
    try:
        return _git("rev-parse", "HEAD") + ("+" if _git("status", "--porcelain") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(*arguments: str) -> str:
    run = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True, timeout=10)
    return run.stdout.strip()
