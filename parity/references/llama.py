"""Llama 3, by transformers."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, LlamaModel

from parity.references.case import randomise
from parity.references.causal import cl100k_words, learn, of_json, rewrite, save_causal

BEGIN, END = "<|begin_of_text|>", "<|end_of_text|>"
TINY = {
    "vocab_size": 430,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-3,
}
# With wavelengths of 6, 29 and 135 tokens: one stays, one is in between, one is divided.
SCALED = {"factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}


def _write_tokenizer(checkpoint: Path) -> None:
    """`tokenizer.json` alone, as Llama 3 has it: a token before the title, and words found without merging."""
    empty = {"version": "1.0", "model": {"type": "BPE", "vocab": {}, "merges": []}}
    learnt = learn(of_json({**empty, "pre_tokenizer": cl100k_words(r"\p{N}{1,3}")}).pre_tokenizer)
    content = json.loads(learnt.to_str())
    content["model"]["ignore_merges"] = True
    content["model"]["vocab"]["Ġhyphenated"] = learnt.get_vocab_size()  # which no merge leads to
    tokenizer = of_json(content)
    tokenizer.add_special_tokens([BEGIN, END])
    begin = (BEGIN, tokenizer.token_to_id(BEGIN))
    tokenizer.post_processor = TemplateProcessing(single=f"{BEGIN} $A", special_tokens=[begin])
    tokenizer.save(str(checkpoint / "tokenizer.json"))
    options = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": BEGIN, "eos_token": END}
    (checkpoint / "tokenizer_config.json").write_text(json.dumps(options), encoding="utf-8")


def llama(folder: Path) -> None:
    """Llama 3.1's scaling of positions; weights in bfloat16 and in shards, with a head of their own."""
    rope = {"rope_type": "llama3", "rope_theta": 100.0, **SCALED}
    model = randomise(LlamaForCausalLM(LlamaConfig(rope_parameters=rope, **TINY))).to(torch.bfloat16)
    model.save_pretrained(folder / "checkpoint", max_shard_size="20KB")
    _save(folder, LlamaModel.from_pretrained(folder / "checkpoint", dtype=torch.float32))


def linear(folder: Path) -> None:
    """All positions divided; `config.json` as it was before transformers 5."""
    rope = {"rope_type": "linear", "rope_theta": 1000.0, "factor": 4.0}
    model = randomise(LlamaModel(LlamaConfig(rope_parameters=rope, **TINY)))
    model.save_pretrained(folder / "checkpoint")
    old = {"rope_theta": 1000.0, "rope_scaling": {"type": "linear", "factor": 4.0}, "rope_parameters": None}
    rewrite(folder / "checkpoint" / "config.json", **old)
    _save(folder, model)


def _save(folder: Path, model: LlamaModel) -> None:
    _write_tokenizer(folder / "checkpoint")
    tokenizer = AutoTokenizer.from_pretrained(folder / "checkpoint")
    save_causal(folder, "llama", model, tokenizer, END, appended=False)


REFERENCES = {"llama_transformers": llama, "llama_transformers_linear": linear}
