"""XLM-RoBERTa by transformers, whose tokeniser is made from a SentencePiece file as it is from the published ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
import torch
from transformers import (
    XLMRobertaConfig,
    XLMRobertaForMaskedLM,
    XLMRobertaForSequenceClassification,
    XLMRobertaModel,
    XLMRobertaTokenizer,
)

from parity.references.case import TITLES, randomise, save_case

LENGTH = 16


def xlm_roberta(folder: Path, *, model_class: Any = XLMRobertaModel, pooling: str | None = None) -> None:
    """The first token, or what sentence-transformers' file says."""
    checkpoint = folder / "checkpoint"
    checkpoint.mkdir(parents=True, exist_ok=True)
    config = XLMRobertaConfig(
        vocab_size=_train(checkpoint / "sentencepiece.bpe.model") + 2,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=48,
        max_position_embeddings=LENGTH + 2,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
    )
    model = randomise(model_class(config))
    model.save_pretrained(checkpoint)
    tokenizer = XLMRobertaTokenizer.from_pretrained(checkpoint)
    tokens = tokenizer(list(TITLES), padding="max_length", truncation=True, max_length=LENGTH, return_tensors="pt")
    with torch.no_grad():
        sequence = model.base_model(**tokens).last_hidden_state.numpy()
    mask = tokens["attention_mask"].numpy().astype(bool)
    pooled = sequence[:, 0]
    if pooling:
        (checkpoint / "1_Pooling").mkdir()
        (checkpoint / "1_Pooling" / "config.json").write_text(json.dumps({pooling: True}), encoding="utf-8")
        pooled = (sequence * mask[:, :, np.newaxis]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
    save_case(
        folder,
        encoder="xlm_roberta",
        modality="text",
        arrays={
            "token_ids": tokens["input_ids"].numpy().astype(np.int32),
            "mask": mask,
            "sequence": sequence,
            "pooled": pooled,
        },
        titles=TITLES,
        length=LENGTH,
    )


def _train(path: Path) -> int:
    """Write a small SentencePiece model with XLM-RoBERTa's settings and tell how many pieces it has."""
    with path.open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter([title for title in TITLES if title] * 10),
            model_writer=file,
            model_type="unigram",
            vocab_size=120,
            hard_vocab_limit=False,
            character_coverage=0.98,  # leaves the rarest characters unknown
            normalization_rule_name="nmt_nfkc",
            byte_fallback=False,
            minloglevel=2,
        )
    return sentencepiece.SentencePieceProcessor(model_file=str(path)).vocab_size()


REFERENCES = {
    "xlm_roberta_transformers": xlm_roberta,
    "xlm_roberta_transformers_masked_lm": lambda folder: xlm_roberta(folder, model_class=XLMRobertaForMaskedLM),
    "xlm_roberta_transformers_classifier": lambda folder: xlm_roberta(
        folder, model_class=XLMRobertaForSequenceClassification
    ),
    "xlm_roberta_transformers_mean": lambda folder: xlm_roberta(folder, pooling="pooling_mode_mean_tokens"),
}
