"""The reference libraries' side of `benchmarks.encoders`, in PyTorch's environment."""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers

sys.path.append(str(Path(__file__).parents[1] / "parity" / "stand_ins"))
warnings.simplefilter("ignore")
import timm
from torchscale.model.BEiT3 import BEiT3

from parity.references.beit3 import options

TIMM = {
    "resnet50": "resnet50",
    "convnext_tiny": "convnext_tiny",
    "convnextv2_atto": "convnextv2_atto",
    "swin_tiny": "swin_tiny_patch4_window7_224",
    "vit_small": "vit_small_patch16_224",
    "eva02_tiny": "eva02_tiny_patch14_224",
}
BEIT3_BASE = {
    "patch_size": 16,
    "vocab_size": 64010,
    "max_text_positions": 1024,
    "embed_dim": 768,
    "attention_heads": 12,
    "ffn_embed_dim": 3072,
    "layers": 12,
}
TRANSFORMERS = {
    "dinov2_small": lambda: transformers.Dinov2Model(
        transformers.Dinov2Config(hidden_size=384, num_attention_heads=6, num_hidden_layers=12)
    ),
    "dinov3_small": lambda: transformers.DINOv3ViTModel(
        transformers.DINOv3ViTConfig(
            hidden_size=384, num_attention_heads=6, intermediate_size=1536, num_register_tokens=4
        )
    ),
    "siglip_base": lambda: transformers.SiglipVisionModel(transformers.SiglipVisionConfig()),
    "bert_base": lambda: transformers.BertModel(transformers.BertConfig(), add_pooling_layer=False),
    "bge_small": lambda: transformers.BertModel(
        transformers.BertConfig(hidden_size=384, intermediate_size=1536), add_pooling_layer=False
    ),
    "gpt2_base": lambda: transformers.GPT2Model(transformers.GPT2Config()),
    "xlm_roberta_base": lambda: transformers.XLMRobertaModel(
        transformers.XLMRobertaConfig(vocab_size=250002, max_position_embeddings=514), add_pooling_layer=False
    ),
    "qwen3_600m": lambda: transformers.Qwen3Model(
        transformers.Qwen3Config(
            hidden_size=1024,
            intermediate_size=3072,
            num_hidden_layers=28,
            num_attention_heads=16,
            num_key_value_heads=8,
        )
    ),
}


def build(name: str, batch: int, size: int) -> tuple[torch.nn.Module, Callable[[], torch.Tensor]]:
    """A model and its forward pass to a pooled output."""
    images = torch.randn([batch, 3, size, size])
    token_ids = torch.randint(5, 1000, [batch, size])
    if name in TIMM:
        model = timm.create_model(TIMM[name], num_classes=0)
        return model, lambda: model(images)
    if name == "beit3_base":
        model = BEiT3(options(size, BEIT3_BASE))
        return model, lambda: model(visual_tokens=images)["encoder_out"][:, 0]
    model = TRANSFORMERS[name]()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0  # as ours
    inputs = {"pixel_values": images} if hasattr(model.config, "image_size") else {"input_ids": token_ids}
    return model, lambda: model(**inputs).last_hidden_state[:, -1]


def steps(model: torch.nn.Module, forward: Callable[[], torch.Tensor]) -> dict[str, Callable[[], Any]]:
    """What is timed."""

    def inference() -> None:
        model.eval()
        with torch.inference_mode():
            forward()

    def training() -> None:
        model.train()
        forward().square().mean().backward()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.grad is not None:
                    parameter.sub_(parameter.grad, alpha=1e-9)
                    parameter.grad = None

    return {"inference": inference, "training": training}


def main() -> None:
    """Answer requests until the input ends."""
    compiled: dict[str, Callable[[], Any]] = {}
    for line in sys.stdin:
        request = json.loads(line)
        start = time.perf_counter()
        if "encoder" in request:
            compiled = steps(*build(request["encoder"], request["batch"], request["size"]))
        else:
            compiled[request["mode"]]()
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main()
