"""Qwen3 and Qwen3-Embedding, by transformers."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer, Qwen2Tokenizer, Qwen3Config, Qwen3ForCausalLM, Qwen3Model

from parity.references.case import randomise
from parity.references.causal import learn, save_causal

END = "<|endoftext|>"
TINY = {
    "vocab_size": 430,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 10,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-2,
}


def _learn(checkpoint: Path) -> None:
    """Write `vocab.json` without special tokens, as Qwen3's is, and `merges.txt`."""
    checkpoint.mkdir(parents=True, exist_ok=True)
    form = Qwen2Tokenizer()._tokenizer
    learn(form.pre_tokenizer, form.normalizer).model.save(str(checkpoint))


def embedding(folder: Path) -> None:
    """As Qwen3-Embedding is published: no prefix; `tokenizer.json`, which appends the end token."""
    checkpoint = folder / "checkpoint"
    _learn(checkpoint)
    tokenizer = Qwen2Tokenizer.from_pretrained(checkpoint)
    template = [(END, tokenizer.convert_tokens_to_ids(END))]
    tokenizer._tokenizer.post_processor = TemplateProcessing(single=f"$A {END}", special_tokens=template)
    for file in ("vocab.json", "merges.txt"):
        (checkpoint / file).unlink()
    tokenizer.save_pretrained(checkpoint)
    model = randomise(Qwen3Model(Qwen3Config(**TINY)))
    model.save_pretrained(checkpoint)
    save_causal(folder, "qwen3", model, AutoTokenizer.from_pretrained(checkpoint), END, appended=True)


def linear(folder: Path) -> None:
    """All positions divided; `vocab.json`, `merges.txt` and the special tokens beside them."""
    checkpoint = folder / "checkpoint"
    _learn(checkpoint)
    rope = {"rope_type": "linear", "rope_theta": 1000.0, "factor": 4.0}
    model = randomise(Qwen3ForCausalLM(Qwen3Config(rope_parameters=rope, tie_word_embeddings=True, **TINY)))
    model.save_pretrained(checkpoint)
    size = len(json.loads((checkpoint / "vocab.json").read_text(encoding="utf-8")))
    special = {str(size): {"content": END, "special": True}}
    (checkpoint / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": special}), encoding="utf-8")
    tokenizer = Qwen2Tokenizer.from_pretrained(checkpoint)
    save_causal(folder, "qwen3", model.model, tokenizer, END, appended=False)


REFERENCES = {"qwen3_transformers_embedding": embedding, "qwen3_transformers_linear": linear}
