"""What an architecture tells about itself, to be built by name, loaded from its checkpoints and trained in part."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from mim_tf.encoders.checkpoints import Layout
from mim_tf.encoders.pixels import SQUEEZED, Pixels
from mim_tf.encoders.tokenizers import Tokenizer, vocabulary_files

Arguments = dict[str, Any]


@dataclass(frozen=True)
class VisionFamily:
    """A vision architecture in all its sizes.

    Attributes:
        build: `build(image_size=..., dtype=..., **arguments)`, a functional model of normalised images
            `[batch, image_size, image_size, 3]` with a dictionary as output: `sequence`, `[batch, tokens, hidden]` or
            `[batch, height, width, hidden]`, and `pooled`, `[batch, hidden]`, pooled as the authors do it.
        sizes: these arguments by encoder name, plain values only: they are saved as JSON.
        blocks: a built model's blocks from input to output, what is frozen, recomputed and adapted one by one.
        layouts: the forms of checkpoints it can be loaded from.
        pixels: the input side where a checkpoint says nothing of it.
        grids: of these arguments, paths of the patches' position embeddings with how many leading ones belong to none.
        whole_patches: whether an image must be made of whole patches; otherwise what is left at its edge is not seen.
        preset: how keras-nlp's presets of it are read, if it has any.
        convolutional: whether it is made of convolutions, in place of attention between patches.
    """

    build: Callable[..., keras.Model]
    sizes: Mapping[str, Arguments]
    blocks: Callable[[keras.Model], Sequence[keras.Layer]]
    layouts: tuple[Layout, ...]
    pixels: Pixels = SQUEEZED
    grids: Callable[[Arguments], Mapping[str, int]] = lambda arguments: {}
    whole_patches: bool = True
    preset: VisionPreset | None = None
    convolutional: bool = False


@dataclass(frozen=True)
class TextFamily:
    """A language architecture in all its sizes.

    Attributes:
        build: `build(dtype=..., **arguments)`, a functional model of `token_ids` `[batch, length]` int32 and
            `padding_mask` `[batch, length]` bool with a dictionary as output: `sequence`, `[batch, length, hidden]`,
            and `pooled`, `[batch, hidden]`, pooled as the authors do it. The argument `vocabulary_size` is always
            there, `max_sequence_length` where the length has an end.
        sizes: these arguments by encoder name without `vocabulary_size`, plain values only.
        blocks: as in `VisionFamily`.
        layouts: as in `VisionFamily`.
        tokenizer: the tokeniser that a checkpoint's files, name to content, describe.
        token_embedding: a built model's matrix that token ids are looked up in, `[vocabulary_size, hidden]`.
        causal: whether a token sees only itself and those before it.
        first_files: the tokeniser's files where there is no checkpoint, from pieces that were learnt from titles.
        preset: as in `VisionFamily`.
    """

    build: Callable[..., keras.Model]
    sizes: Mapping[str, Arguments]
    blocks: Callable[[keras.Model], Sequence[keras.Layer]]
    layouts: tuple[Layout, ...]
    tokenizer: Callable[[Mapping[str, bytes]], Tokenizer]
    token_embedding: Callable[[keras.Model], keras.Variable]
    causal: bool = False
    first_files: Callable[[Sequence[str]], Mapping[str, bytes]] = vocabulary_files
    preset: TextPreset | None = None


@dataclass(frozen=True)
class VisionPreset:
    """A keras-nlp preset's way into a family.

    Attributes:
        backbone: keras-nlp's model of a preset handle, with the same variable paths as the family's.
        arguments: that model's arguments of the family's `build`.
        converter: keras-nlp's image converter class of the same presets.
    """

    backbone: Callable[[str], keras.Model]
    arguments: Callable[[keras.Model], Arguments]
    converter: Any


@dataclass(frozen=True)
class TextPreset:
    """A keras-nlp preset's way into a family.

    Attributes:
        backbone: keras-nlp's model of a preset handle, with the same variable paths as the family's.
        arguments: that model's arguments of the family's `build`.
        files: the tokeniser files of a preset handle, as the family's `tokenizer` takes them.
    """

    backbone: Callable[[str], keras.Model]
    arguments: Callable[[keras.Model], Arguments]
    files: Callable[[str], Mapping[str, bytes]]
