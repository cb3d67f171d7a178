"""How another library lays an architecture down in a checkpoint, and how its tensors become our variables."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from mim_tf.encoders.checkpoints.positions import resize_grid
from mim_tf.encoders.checkpoints.tensor_files import TensorFiles

# A variable's name in a Keras layer, and the parameter's in a PyTorch module.
_PARAMETERS = {
    "kernel": "weight",
    "embeddings": "weight",
    "gamma": "weight",
    "scale": "weight",
    "bias": "bias",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
_ALWAYS_UNUSED = (r".*\.num_batches_tracked", r".*\.position_ids", r".*\.rotary_emb\.inv_freq")
_LISTED = 20  # names per kind of error


@dataclass(frozen=True)
class Source:
    """Where a variable's value is found: one equal part of some tensors joined along their output axis.

    Attributes:
        tensors: their names.
        part: which part.
        parts: how many there are.
        compute: makes one tensor of them in another way than joining.
    """

    tensors: tuple[str, ...]
    part: int = 0
    parts: int = 1
    compute: Callable[..., np.ndarray] | None = None


def joined(*tensors: str) -> Source:
    """Several tensors as one, such as query, key and value where the variable holds all three."""
    return Source(tensors)


def part(tensor: str, index: int, parts: int) -> Source:
    """One part of a tensor, such as the key where the tensor holds query, key and value."""
    return Source((tensor,), index, parts)


def computed(compute: Callable[..., np.ndarray], *tensors: str) -> Source:
    """What a function makes of some tensors, float32 arrays, where the variable holds neither."""
    return Source(tensors, compute=compute)


@dataclass(frozen=True)
class Layout:
    """One library's form of an architecture.

    Attributes:
        library: who writes it: transformers, timm, torchscale.
        recognises: whether a `config.json` describes this architecture.
        arguments: a `config.json` as arguments of the architecture's `build`; a value it cannot honour is a ValueError.
        sources: of these arguments, for each layer's path the module's name or a `Source` of several, to which the
            names of the parameters are added; or for a variable's path the tensor's whole name.
        prefixes: what may stand before all names, depending on the head that the model was saved with.
        unused: patterns of tensors that are no part of the encoder, such as the heads of its pre-training.
        transposed: whether matrices are `[out, in]`, as PyTorch's linear layers keep them.
        antialias: whether the library antialiases when it resizes position embeddings.
    """

    library: str
    recognises: Callable[[Mapping[str, Any]], bool]
    arguments: Callable[[Mapping[str, Any]], dict[str, Any]]
    sources: Callable[[Mapping[str, Any]], dict[str, str | Source]]
    prefixes: tuple[str, ...] = ("",)
    unused: tuple[str, ...] = ()
    transposed: bool = True
    antialias: bool = False

    def load(
        self, model: keras.Model, arguments: Mapping[str, Any], files: TensorFiles, grids: Mapping[str, int]
    ) -> None:
        """Give every variable of `model` its value; nothing is assigned unless all of it fits.

        Args:
            model: the architecture, built with `arguments`.
            arguments: what `self.arguments` returned.
            files: the checkpoint.
            grids: variables that hold position embeddings, with how many leading ones are of no place; their square
                grid is resized to the model's.

        Raises:
            ValueError: tensors that are missing, unexpected or wrongly shaped, by name.
        """
        table = self.sources(arguments)
        sources = {variable.path: _source_of(variable.path, table) for variable in model.weights}
        prefix = self._prefix(sources, files)
        problems = self._missing_and_unexpected(sources, files, prefix)
        names, misshapen = set(files), []

        def unread(name: str) -> np.ndarray:  # of the right shape, in no memory
            return np.broadcast_to(np.float32(0), files.shape(name))

        for variable in model.weights:
            source = sources[variable.path]
            if not names.issuperset(prefix + name for name in source.tensors):
                continue  # among the missing
            try:
                self._value(source, variable, unread, prefix, grids.get(variable.path))
            except _WrongShapeError as error:
                misshapen.append(str(error))
        problems += _shortened(misshapen)
        if problems:
            raise ValueError("\n  ".join([f"{files.folder} does not fit {model.name}:", *problems]))
        for variable in model.weights:
            source = sources[variable.path]
            variable.assign(self._value(source, variable, files.read, prefix, grids.get(variable.path)))

    def _prefix(self, sources: Mapping[str, Source], files: TensorFiles) -> str:
        names = set(files)
        wanted = [name for source in sources.values() for name in source.tensors]
        return max(self.prefixes, key=lambda prefix: sum(prefix + name in names for name in wanted))

    def _missing_and_unexpected(self, sources: Mapping[str, Source], files: TensorFiles, prefix: str) -> list[str]:
        wanted = {prefix + name for source in sources.values() for name in source.tensors}
        unused = re.compile("|".join(f"(?:{pattern})" for pattern in (*_ALWAYS_UNUSED, *self.unused)))
        missing = sorted(wanted - set(files))
        unexpected = sorted(name for name in set(files) - wanted if not unused.fullmatch(name))
        return [
            *_shortened([f"missing: {name}" for name in missing]),
            *_shortened([f"unexpected: {name}" for name in unexpected]),
        ]

    def _value(
        self,
        source: Source,
        variable: Any,
        read: Callable[[str], np.ndarray],
        prefix: str,
        leading: int | None,
    ) -> np.ndarray:
        tensors = [read(prefix + name) for name in source.tensors]
        names = " + ".join(prefix + name for name in source.tensors)
        output_axis = 0 if self.transposed else -1
        try:
            tensor = source.compute(*tensors) if source.compute else np.concatenate(tensors, output_axis)
            tensor = np.split(tensor, source.parts, output_axis)[source.part]
        except ValueError:
            raise _WrongShapeError(f"wrong shape: {names} is {[tensor.shape for tensor in tensors]}") from None
        target = tuple(variable.shape)
        if leading is not None and tensor.ndim >= 2:
            try:
                tensor = resize_grid(tensor, target[-2] - leading, leading, self.antialias)
            except ValueError as error:
                raise _WrongShapeError(f"wrong shape: {names}: {error}") from None
        value = self._transpose(tensor, variable)
        if not _same_but_for_grouping(value.shape, target):
            raise _WrongShapeError(f"wrong shape: {names} is {list(tensor.shape)}, which does not fit {list(target)}")
        return value.reshape(target)

    def _transpose(self, tensor: np.ndarray, variable: Any) -> np.ndarray:
        if tensor.ndim == 4 and variable.path.endswith("kernel"):  # a convolution, [out, in, height, width]
            depthwise = tensor.shape[1] == 1 and variable.shape[-1] == 1
            return tensor.transpose(2, 3, 0, 1) if depthwise else tensor.transpose(2, 3, 1, 0)
        if tensor.ndim == 2 and variable.path.endswith("kernel") and self.transposed:
            return tensor.T
        return tensor


class _WrongShapeError(Exception):
    """Says which tensor does not fit which shape."""


def _source_of(path: str, table: Mapping[str, str | Source]) -> Source:
    """The tensors of a variable, by its own entry or its layer's."""
    if path in table:
        return _as_source(table[path])
    layer, _, name = path.rpartition("/")
    modules = _as_source(table[layer])
    return replace(modules, tensors=tuple(f"{module}.{_PARAMETERS[name]}" for module in modules.tensors))


def _as_source(source: str | Source) -> Source:
    return Source((source,)) if isinstance(source, str) else source


def _shortened(problems: list[str]) -> list[str]:
    more = len(problems) - _LISTED
    return problems if more <= 0 else [*problems[:_LISTED], f"and {more} more"]


def _same_but_for_grouping(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Whether one shape is the other with neighbouring axes merged, such as heads and their width; ones don't count."""
    strides = [set(np.cumprod([size for size in shape if size != 1] or [1]).tolist()) for shape in (one, other)]
    return max(strides[0]) == max(strides[1]) and (strides[0] <= strides[1] or strides[1] <= strides[0])
