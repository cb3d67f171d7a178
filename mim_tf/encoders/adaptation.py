"""How much of a pre-trained encoder learns, and how much memory that takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from mim_tf.encoders.text import TEXT_FAMILIES
from mim_tf.encoders.text_encoder import TextEncoder
from mim_tf.encoders.vision import VISION_FAMILIES
from mim_tf.encoders.vision_encoder import VisionEncoder

Encoder = VisionEncoder | TextEncoder
_ADAPTABLE = (keras.layers.Dense, keras.layers.EinsumDense)


def blocks(encoder: Encoder) -> list[keras.Layer]:
    """The blocks of an encoder's backbone, from input to output."""
    families = VISION_FAMILIES if isinstance(encoder, VisionEncoder) else TEXT_FAMILIES
    return list(families[encoder.family].blocks(encoder.backbone))


def train_last_blocks(encoder: Encoder, count: int) -> None:
    """Freeze the backbone but for its last blocks and what follows them; the projection always learns.

    Frozen layers run as in inference: batch normalisation keeps its statistics.

    Args:
        encoder: any encoder.
        count: blocks that learn; 0 freezes the whole backbone.

    Raises:
        ValueError: there are not as many blocks.
    """
    all_blocks = blocks(encoder)
    if not 0 <= count <= len(all_blocks):
        raise ValueError(f"`count` must be 0 to {len(all_blocks)}, the blocks of {encoder.family}. Received: {count}.")
    learning = all_blocks[len(all_blocks) - count :]
    following = _following(encoder.backbone, all_blocks[-1]) if learning else []
    encoder.backbone.trainable = False
    for block in learning:
        block.trainable = True
    for variable in following:
        variable.trainable = True


def add_lora(encoder: Encoder, rank: int) -> None:
    """Freeze the backbone and let low-rank adapters of its blocks' dense layers learn, `W + A B`; and the projection.

    Saving the encoder merges them in. They are no part of what is loaded, so they are added afterwards.

    Args:
        encoder: any encoder with dense layers in its blocks.
        rank: columns of `A` and rows of `B`.

    Raises:
        ValueError: the blocks have no dense layers, as in ResNet.

    Reference: Hu et al., LoRA (arXiv 2106.09685).
    """
    # Keras has no public way to all layers inside layers.
    dense = [layer for block in blocks(encoder) for layer in block._flatten_layers() if isinstance(layer, _ADAPTABLE)]
    if not dense:
        raise ValueError(f"`rank` must be 0 with {encoder.family}: its blocks have no dense layers. Received: {rank}.")
    for layer in dense:
        layer.enable_lora(rank)
    encoder.backbone.trainable = False
    for layer in dense:
        layer.lora_kernel_a.trainable = layer.lora_kernel_b.trainable = True


def layer_rates(encoder: Encoder, decay: float) -> dict[str, float]:
    """Learning rates relative to the top, by the variables' paths: what is deeper changes less.

    `decay^(L + 1 - l)` in block `l` of `1..L`, `decay^(L + 1)` in what comes before the blocks; 1 in what comes after
    them, the projection's included.

    Args:
        encoder: any encoder.
        decay: a block's rate relative to the next one's, 0 to 1.

    Reference: Bao et al., BEiT (arXiv 2106.08254), section 3.2; Clark et al., ELECTRA (arXiv 2003.10555).
    """
    all_blocks = blocks(encoder)
    weights = encoder.backbone.weights
    rates = {variable.path: decay ** (len(all_blocks) + 1) for variable in weights}
    rates |= {variable.path: 1.0 for variable in weights[_end_of(encoder.backbone, all_blocks[-1]) :]}
    for depth, block in enumerate(all_blocks):
        rates |= {variable.path: decay ** (len(all_blocks) - depth) for variable in block.weights}
    return rates


def recompute_activations(encoder: Encoder) -> None:
    """Keep only the blocks' inputs for the backward pass, which computes what is inside once more.

    Memory for activations shrinks to about one block's; a training step computes the blocks forward twice. So batch
    normalisation (ResNet) sees a batch twice, and its statistics follow twice as fast.

    Reference: Chen et al., Training Deep Nets with Sublinear Memory Cost (arXiv 1604.06174).
    """
    for block in blocks(encoder):
        block.call = _recomputed(block.call)


def _recomputed(call: Callable[..., Any]) -> Callable[..., Any]:
    """`keras.remat` for layers that are called with keywords, which TensorFlow's custom gradients do not take."""

    def recomputed(*inputs: Any, **options: Any) -> Any:
        # Masks are of whole numbers: nothing flows back through them.
        named = {
            name: value for name, value in options.items() if keras.ops.is_tensor(value) and value.dtype.is_floating
        }
        plain = {name: value for name, value in options.items() if name not in named}

        def positional(*tensors: Any) -> Any:
            return call(*tensors[: len(inputs)], **dict(zip(named, tensors[len(inputs) :], strict=True)), **plain)

        return keras.remat(positional)(*inputs, *named.values())

    return recomputed


def _following(backbone: keras.Model, last_block: keras.Layer) -> list[Any]:
    """The variables that learn and come after the last block, such as the final norm's."""
    return [variable for variable in backbone.weights[_end_of(backbone, last_block) :] if variable.trainable]


def _end_of(backbone: keras.Model, block: keras.Layer) -> int:
    """Index of the first weight after a block's; weights are in graph order."""
    inside = {variable.path for variable in block.weights}
    return 1 + max(index for index, variable in enumerate(backbone.weights) if variable.path in inside)
