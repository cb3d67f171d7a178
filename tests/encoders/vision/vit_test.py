"""ViT: what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from mim_tf.encoders import vision_encoder

CONFIG = {
    "model_type": "vit",
    "patch_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "hidden_size": 8,
    "intermediate_size": 16,
    "layer_norm_eps": 1e-12,
}
TIMM = {"architecture": "vit_tiny_patch16_224"}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (CONFIG | {"hidden_act": "relu"}, r"`hidden_act` must be gelu\. Received: 'relu'"),
        (CONFIG | {"qkv_bias": False}, r"`qkv_bias` must be True\. Received: False"),
        (CONFIG | {"num_channels": 1}, r"`num_channels` must be 3\. Received: 1"),
        (CONFIG | {"patch_size": [16, 16]}, r"`patch_size` must be a whole number\. Received: \[16, 16\]"),
        (CONFIG | {"image_size": [224, 224]}, r"`image_size` must be a whole number\. Received: \[224, 224\]"),
        (
            {key: value for key, value in CONFIG.items() if key != "layer_norm_eps"},
            r"config\.json must have 'layer_norm_eps', which transformers writes",
        ),
        ({"architecture": "vit_huge_patch14_224"}, r"must be of \w+, .*Received: 'vit_huge_patch14_224'"),
        (TIMM | {"global_pool": "avg"}, r"`global_pool` must be token\. Received: 'avg'"),
        (TIMM | {"model_args": {"num_heads": 6}}, r"`model_args` must change nothing of .* Received: num_heads=6"),
    ],
)
def test_a_configuration_that_cannot_be_honoured_is_refused(
    tmp_path: Path, config: dict[str, Any], message: str
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=message):
        vision_encoder("vit", dim=None, weights=tmp_path)
