"""GPT-2, by transformers."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers.pre_tokenizers import ByteLevel
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel, GPT2Tokenizer

from parity.references.case import randomise, save_checkpoint
from parity.references.causal import learn, rewrite, save_causal

END = "<|endoftext|>"


def _model() -> GPT2LMHeadModel:
    config = GPT2Config(vocab_size=430, n_embd=24, n_layer=2, n_head=3, n_positions=32)
    return randomise(GPT2LMHeadModel(config))


def _learn(checkpoint: Path) -> None:
    """Write `vocab.json`, with the end token as the last one, and `merges.txt`."""
    checkpoint.mkdir(parents=True, exist_ok=True)
    learn(ByteLevel(add_prefix_space=False)).model.save(str(checkpoint))
    vocabulary = json.loads((checkpoint / "vocab.json").read_text(encoding="utf-8"))
    rewrite(checkpoint / "vocab.json", **{END: len(vocabulary)})


def gpt2(folder: Path) -> None:
    """As it is saved today: with the language head's prefix, and `tokenizer.json`."""
    checkpoint = folder / "checkpoint"
    _learn(checkpoint)
    tokenizer = GPT2Tokenizer.from_pretrained(checkpoint)
    for file in ("vocab.json", "merges.txt"):
        (checkpoint / file).unlink()
    tokenizer.save_pretrained(checkpoint)
    model = _model()
    model.save_pretrained(checkpoint)
    save_causal(folder, "gpt2", model.transformer, AutoTokenizer.from_pretrained(checkpoint), END, appended=False)


def published(folder: Path) -> None:
    """As it was published: no prefix, the causal masks among the tensors, `vocab.json` and `merges.txt`."""
    model = _model()
    state = model.transformer.state_dict()
    masks = {f"h.{layer}.attn.bias": model.transformer.wpe.weight[:1] for layer in range(2)}
    save_checkpoint(folder, model.config.to_dict(), {**state, **masks})
    _learn(folder / "checkpoint")
    tokenizer = GPT2Tokenizer.from_pretrained(folder / "checkpoint")
    save_causal(folder, "gpt2", model.transformer, tokenizer, END, appended=False)


REFERENCES = {"gpt2_transformers": gpt2, "gpt2_transformers_published": published}
