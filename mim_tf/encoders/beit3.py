"""BEiT-3: one transformer of images, of texts, or of both at once, loaded from its authors' checkpoints.

The authors publish pickles, which may run code when read, without a `config.json`. The recipe for a folder, to be
followed where PyTorch is installed, here with a base model made for 224 pixels; `beit3.spm`, the tokeniser, goes there
as well:

```python
state = torch.load("beit3_base_itc_patch16_224.pth", map_location="cpu", weights_only=True)["model"]
tensors = {name: tensor.contiguous().clone() for name, tensor in state.items()}
safetensors.torch.save_file(tensors, "folder/model.safetensors")
config = {
    "model_type": "beit3",
    "embed_dim": 768,
    "layers": 12,
    "attention_heads": 12,
    "ffn_embed_dim": 3072,
    "patch_size": 16,
    "image_size": 224,
    "vocab_size": 64010,
    "max_text_positions": 1024,
}
pathlib.Path("folder/config.json").write_text(json.dumps(config))
```

Those that were fine-tuned hold their command's arguments too: read them `with torch.serialization.safe_globals([
argparse.Namespace])`. Those for classifying images and answering questions have no last norm and cannot be loaded.

Reference: Wang et al., Image as a Foreign Language: BEiT Pretraining for Vision and Vision-Language Tasks (arXiv
2208.10442). Its code: torchscale's `BEiT3` with the options of github.com/microsoft/unilm/tree/master/beit3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
from keras import ops

from mim_tf.encoders.beit3_layers import EPSILON, OFFSET, ImageTokens, MultiwayBlock, WordTokens
from mim_tf.encoders.checkpoints import Layout, Source, TensorFiles, read_json, require, require_whole
from mim_tf.encoders.weights import checkpoint_arguments

VISION, TEXT = "vision", "text"
_BRANCHES = {VISION: "A", TEXT: "B"}  # as torchscale names a multiway layer's two
_EMBEDDINGS = {VISION: "vision_embed", TEXT: "text_embed"}
# Options of torchscale that all these checkpoints have in common, and a config.json may repeat.
_FIXED = {
    "multiway": True,
    "subln": True,
    "normalize_output": True,
    "layernorm_embedding": False,
    "activation_fn": "gelu",
    "layernorm_eps": EPSILON,
}
_HEADS = ("mlm_head", "mim_head", "vision_head", "language_head", "pooler", "fc_norm", "head")
_IMAGES, _WORDS = "image_tokens", "word_tokens"  # layers
# Of the table of positions, the rows that belong to no patch: those that are never used, and the class token's.
GRIDS = {f"{_IMAGES}/positions": OFFSET + 1}


def build_vision(*, image_size: int, dtype: str, patch_size: int, **sizes: int) -> keras.Model:
    """Images alone, `[batch, image_size, image_size, 3]`. Pooled is the class token, as the authors retrieve images."""
    images = keras.Input((image_size, image_size, 3), name="images")
    tokens = ImageTokens(patch_size, sizes["hidden_dim"], name=_IMAGES, dtype=dtype)(images)
    return keras.Model(images, _encode({VISION: tokens}, None, dtype, **sizes), name="beit3")


def build_text(*, dtype: str, vocabulary_size: int, max_sequence_length: int, **sizes: int) -> keras.Model:
    """Texts alone, `token_ids` and `padding_mask`. Pooled is the first token, `<s>`, as the authors retrieve texts."""
    texts = _text_inputs()
    embed = WordTokens(vocabulary_size, max_sequence_length, sizes["hidden_dim"], name=_WORDS, dtype=dtype)
    tokens = embed(texts["token_ids"], texts["padding_mask"])
    return keras.Model(texts, _encode({TEXT: tokens}, texts["padding_mask"], dtype, **sizes), name="beit3")


def build_joint(
    *, image_size: int, dtype: str, patch_size: int, vocabulary_size: int, max_sequence_length: int, **sizes: int
) -> keras.Model:
    """Images and texts in pairs, all tokens attending to all.

    Args:
        image_size: both sides of the input, pixels, a multiple of `patch_size`.
        dtype: policy of all layers, float32 or mixed_bfloat16.
        patch_size: both sides of a patch, pixels.
        vocabulary_size: number of token ids.
        max_sequence_length: of the longest text, tokens.
        **sizes: `num_layers`, `num_heads`, `hidden_dim` and `mlp_dim`.

    Returns:
        A model of `images` `[batch, image_size, image_size, 3]`, normalised, `token_ids` `[batch, length]` int32 and
        `padding_mask` `[batch, length]` bool, with a dictionary as output: `sequence`, `[batch, 1 + patches + length,
        hidden_dim]`, the image's tokens before the text's, and `pooled`, `[batch, hidden_dim]`, the image's class
        token, from which the authors answer questions about images.
    """
    inputs = {"images": keras.Input((image_size, image_size, 3), name="images"), **_text_inputs()}
    seen = ImageTokens(patch_size, sizes["hidden_dim"], name=_IMAGES, dtype=dtype)(inputs["images"])
    read = WordTokens(vocabulary_size, max_sequence_length, sizes["hidden_dim"], name=_WORDS, dtype=dtype)(
        inputs["token_ids"], inputs["padding_mask"]
    )
    mask = ops.concatenate([ops.ones_like(seen[:, :, 0], dtype="bool"), inputs["padding_mask"]], axis=1)
    return keras.Model(inputs, _encode({VISION: seen, TEXT: read}, mask, dtype, **sizes), name="beit3")


def load_joint(folder: str | Path, *, image_size: int | None = None, dtype: str = "float32") -> keras.Model:
    """The joint model of a checkpoint's folder, the same that the separate encoders are loaded from.

    Args:
        folder: with `config.json` and `model.safetensors`, made as this module says.
        image_size: as in `build_joint`; None takes the checkpoint's.
        dtype: as in `build_joint`.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: weights of another architecture, or tensors that do not fit, by name.
    """
    folder, joint = Path(folder), layout(VISION, TEXT)
    config = read_json(folder / "config.json")
    if not joint.recognises(config):
        raise ValueError(f"{folder / 'config.json'} must be of beit3. Received: {config.get('model_type')!r}.")
    arguments = checkpoint_arguments(joint, config, folder)
    model = build_joint(image_size=image_size or config["image_size"], dtype=dtype, **arguments)
    joint.load(model, arguments, TensorFiles(folder), GRIDS)
    return model


def size(num_layers: int, num_heads: int, hidden_dim: int) -> dict[str, int]:
    """What both modalities share of a size's arguments."""
    return {"num_layers": num_layers, "num_heads": num_heads, "hidden_dim": hidden_dim, "mlp_dim": 4 * hidden_dim}


def blocks(model: keras.Model) -> Sequence[keras.Layer]:
    """The blocks of a model, from input to output."""
    return [layer for layer in model.layers if isinstance(layer, MultiwayBlock)]


def token_embedding(model: keras.Model) -> keras.Variable:
    """The matrix that a text's token ids are looked up in."""
    return model.get_layer(_WORDS).embedding.embeddings


def layout(*modalities: str) -> Layout:
    """The authors' checkpoints, of which what belongs to another modality is not used."""
    unused = [rf"({'|'.join(_HEADS)})\..*", r"logit_scale", r"(beit3\.)?vision_embed\.mask_token"]
    for other in _BRANCHES.keys() - set(modalities):
        unused += [rf"(beit3\.)?{_EMBEDDINGS[other]}\..*", rf"(beit3\.)?encoder\.(.*\.)?{_BRANCHES[other]}\..*"]
    return Layout(
        library="the recipe in mim_tf.encoders.beit3",
        recognises=lambda config: config.get("model_type") == "beit3",
        arguments=lambda config: _arguments(config, modalities),
        sources=lambda arguments: _sources(arguments, modalities),
        prefixes=("beit3.", ""),
        unused=tuple(unused),
    )


def _text_inputs() -> dict[str, Any]:
    return {
        "token_ids": keras.Input((None,), dtype="int32", name="token_ids"),
        "padding_mask": keras.Input((None,), dtype="bool", name="padding_mask"),
    }


def _encode(
    embedded: Mapping[str, Any],
    mask: Any,
    dtype: str,
    *,
    num_layers: int,
    num_heads: int,
    hidden_dim: int,
    mlp_dim: int,
) -> dict[str, Any]:
    """Each modality's embedded tokens, `[batch, length, hidden_dim]`, to the model's outputs."""
    modalities, parts = tuple(embedded), list(embedded.values())
    split = parts[0].shape[1] if len(parts) > 1 else None
    tokens = ops.concatenate(parts, axis=1)
    for index in range(num_layers):
        block = MultiwayBlock(modalities, split, num_heads, mlp_dim, name=f"block_{index}", dtype=dtype)
        tokens = block(tokens, padding_mask=mask)
    parts = [tokens] if split is None else [tokens[:, :split], tokens[:, split:]]
    normed = [
        keras.layers.LayerNormalization(epsilon=EPSILON, name=f"{modality}_norm", dtype=dtype)(part)
        for modality, part in zip(modalities, parts, strict=True)
    ]
    return {"sequence": ops.concatenate(normed, axis=1), "pooled": normed[0][:, 0]}


def _arguments(config: Mapping[str, Any], modalities: Sequence[str]) -> dict[str, int]:
    require(config, _FIXED)
    require_whole(config, "patch_size", "image_size")
    arguments = {
        "num_layers": config["layers"],
        "num_heads": config["attention_heads"],
        "hidden_dim": config["embed_dim"],
        "mlp_dim": config["ffn_embed_dim"],
    }
    if VISION in modalities:
        arguments["patch_size"] = config["patch_size"]
    if TEXT in modalities:
        arguments["vocabulary_size"] = config["vocab_size"]
        arguments["max_sequence_length"] = config["max_text_positions"] - OFFSET
    return arguments


def _sources(arguments: Mapping[str, Any], modalities: Sequence[str]) -> dict[str, str | Source]:
    sources: dict[str, str | Source] = {
        f"{_IMAGES}/class_token": "vision_embed.cls_token",
        f"{_IMAGES}/positions": "encoder.embed_positions.A.weight",
        f"{_IMAGES}/projection": "vision_embed.proj",
        f"{_WORDS}/embedding": "text_embed",
        f"{_WORDS}/positions": "encoder.embed_positions.B.weight",
    }
    for modality in modalities:
        branch = _BRANCHES[modality]
        sources[f"{modality}_norm"] = f"encoder.layer_norm.{branch}"
        for index in range(arguments["num_layers"]):
            ours, theirs = f"block_{index}/{modality}", f"encoder.layers.{index}"
            sources |= {
                f"{ours}/attention_norm": f"{theirs}.self_attn_layer_norm.{branch}",
                f"{ours}/query": f"{theirs}.self_attn.q_proj.{branch}",
                f"{ours}/key": f"{theirs}.self_attn.k_proj.{branch}",
                f"{ours}/value": f"{theirs}.self_attn.v_proj.{branch}",
                f"{ours}/attended_norm": f"{theirs}.self_attn.inner_attn_ln.{branch}",
                f"{ours}/attention_output": f"{theirs}.self_attn.out_proj.{branch}",
                f"{ours}/mlp_norm": f"{theirs}.final_layer_norm.{branch}",
                f"{ours}/mlp_hidden": f"{theirs}.ffn.{branch}.fc1",
                f"{ours}/mlp_hidden_norm": f"{theirs}.ffn.{branch}.ffn_layernorm",
                f"{ours}/mlp_output": f"{theirs}.ffn.{branch}.fc2",
            }
    return sources
