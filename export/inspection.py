"""What a published model holds and came from, for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mim_tf.errors import ExportError
from mim_tf.export.gate.saved_graph import SavedGraph
from mim_tf.export.gate.sizes import Sizes
from mim_tf.export.provenance import read_provenance
from mim_tf.export.version_folders import versions
from mim_tf.serving.signature import Signature, describe


def inspect(folder: Path) -> str:
    """Signatures, embeddings, sizes and provenance of a SavedModel that `mim_tf.export` wrote, or of another.

    Args:
        folder: of a version, or of a model, of which it is the highest version then.

    Raises:
        ExportError: there is no SavedModel.
    """
    if not (folder / "saved_model.pb").exists():
        folder = _highest_version(folder)
    graph = SavedGraph.read(folder)
    return "\n".join([str(folder), *_signatures(graph), *_sizes(folder, graph), *_provenance(read_provenance(folder))])


def _highest_version(folder: Path) -> Path:
    numbers = versions(folder)
    if not numbers:
        models = [str(model) for model in sorted(folder.glob("*")) if versions(model)]
        remedy = f"Give one of {', '.join(models)}." if models else "There is none."
        raise ExportError(f"{folder} must hold a SavedModel, or versions of one. {remedy}")
    return folder / str(numbers[-1])


def _signatures(graph: SavedGraph) -> Iterator[str]:
    for name, proto in graph.signatures.items():
        signature = Signature.from_proto(proto)
        yield f"\n{name}"
        yield from (f"    {describe({key: spec})}" for key, spec in signature.inputs.items())
        yield from (f" -> {describe({key: spec})}" for key, spec in signature.outputs.items())


def _sizes(folder: Path, graph: SavedGraph) -> Iterator[str]:
    sizes = Sizes.of(folder, graph)
    yield f"\nbytes  graph {sizes.graph:,}, variables {sizes.variables:,}, assets {sizes.assets:,}"
    yield f"nodes  {sizes.nodes:,}"


def _provenance(told: Mapping[str, Any] | None) -> Iterator[str]:
    if told is None:
        yield "\nIt says nothing of where it comes from."
        return
    try:
        yield f"\ncreated     {told['created']}"
        yield "code        " + ", ".join(f"{name} {version or 'unknown'}" for name, version in told["code"].items())
        yield f"encoder     {told['encoder']}"
        if told["embeddings"] is not None:
            yield "embeddings  " + ", ".join(f"{name} {value}" for name, value in told["embeddings"].items())
        gate = told["gate"]
        yield "gate        passed " + ", ".join(gate["passed"])
        yield from (f"            skipped {check}: {reason}" for check, reason in gate["skipped"].items())
        yield f"            greatest difference to the training model {gate['greatest_difference']:.2g}"
        yield "settings"
        yield from _flat(told["settings"])
        yield "stages"
        yield from _flat(told["stages"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ExportError(
            f"provenance.json must be what mim_tf.export wrote. Received: one without {error}."
        ) from error


def _flat(tree: Mapping[str, Any], prefix: str = "  ") -> Iterator[str]:
    """A line per value, `section.name: value`."""
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}: {value}"
