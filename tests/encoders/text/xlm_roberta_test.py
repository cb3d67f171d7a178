"""XLM-RoBERTa: its published sizes, its presets, and what of a checkpoint it refuses."""

import json
from pathlib import Path
from typing import Any

import keras_nlp
import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import save_file

from mim_tf.encoders import text_encoder
from mim_tf.encoders.text.xlm_roberta import XLM_ROBERTA
from tests.encoders.toys import sentence_piece_model, tokenizer_files

TITLES = tf.constant(["red summer dress", "", "手机壳 iPhone 15 红色 and much more of it"])
CONFIG = {
    "model_type": "xlm-roberta",
    "vocab_size": 300,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "hidden_size": 8,
    "intermediate_size": 16,
    "max_position_embeddings": 18,  # two of them are never used
    "layer_norm_eps": 1e-5,
    "type_vocab_size": 1,
}


def checkpoint(folder: Path, **changed: Any) -> Path:
    """A folder as transformers writes it, but without tensors that fit."""
    config = {key: value for key, value in (CONFIG | changed).items() if value is not None}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "sentencepiece.bpe.model").write_bytes(sentence_piece_model())
    save_file({"other.weight": np.zeros(3, np.float32)}, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize(("name", "millions"), [("xlm_roberta_base", 270), ("xlm_roberta_large", 550)])
def test_sizes_are_the_papers(name: str, millions: int) -> None:
    # Conneau et al., table of model sizes in the appendix: with a vocabulary of 250 thousand.
    size = XLM_ROBERTA.sizes[name]
    model = XLM_ROBERTA.build(
        dtype="float32", vocabulary_size=1, max_sequence_length=512, **size | {"num_layers": 1}
    )  # the others are the same
    layer = sum(block.count_params() for block in XLM_ROBERTA.blocks(model))
    parameters = model.count_params() + (size["num_layers"] - 1) * layer + 250_001 * size["hidden_dim"]
    assert parameters / 1e6 == pytest.approx(millions, rel=0.03)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"hidden_act": "relu"}, r"`hidden_act` must be gelu\. Received: 'relu'"),
        ({"is_decoder": True}, r"`is_decoder` must be False\. Received: True"),
        ({"layer_norm_eps": 1e-12}, r"`layer_norm_eps` must be 1e-05\. Received: 1e-12"),
        ({"layer_norm_eps": None}, r"`layer_norm_eps` must be 1e-05\. Received: 1e-12"),  # transformers' default
        ({"pad_token_id": 0}, r"`pad_token_id` must be 1\. Received: 0"),
        ({"position_embedding_type": "relative_key"}, r"`position_embedding_type` must be absolute"),
        ({"vocab_size": None}, r"config\.json must have 'vocab_size', which transformers writes"),
        ({"model_type": "roberta"}, r"must be of \w+, written by transformers\. Received: 'roberta'"),
        ({}, r"missing: embeddings\.token_type_embeddings\.weight"),
    ],
)
def test_a_checkpoint_that_it_cannot_honour_is_refused(changed: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        text_encoder("xlm_roberta", dim=4, length=16, weights=checkpoint(tmp_path, **changed))


def test_two_positions_of_a_checkpoint_are_not_for_tokens(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`length` must be at most 16, .*Received: 17"):
        text_encoder("xlm_roberta", dim=4, length=17, weights=checkpoint(tmp_path))


def test_a_folder_with_another_tokeniser_is_told_what_to_add(tmp_path: Path) -> None:
    (checkpoint(tmp_path) / "sentencepiece.bpe.model").rename(tmp_path / "tokenizer.json")
    with pytest.raises(FileNotFoundError, match=r"needs sentencepiece\.bpe\.model"):
        text_encoder("xlm_roberta", dim=4, length=16, weights=tmp_path)


def test_a_title_is_its_first_token_which_sees_all_others() -> None:
    encoder = text_encoder("xlm_roberta_toy", dim=None, length=8, files=tokenizer_files("xlm_roberta"))
    token_ids = encoder.tokenize(TITLES)
    outputs = encoder.backbone({"token_ids": token_ids, "padding_mask": token_ids != 1})
    np.testing.assert_array_equal(outputs["pooled"], outputs["sequence"][:, 0])
    np.testing.assert_array_equal(encoder.embed(TITLES), outputs["pooled"])
    assert np.abs(encoder.embed(tf.constant(["red dress"])) - encoder.embed(tf.constant(["red size"]))).max() > 1e-4


# keras-nlp leaves closing the tokeniser's file to the garbage collector.
@pytest.mark.filterwarnings("ignore:Exception ignored in.*vocabulary.spm:pytest.PytestUnraisableExceptionWarning")
def test_a_preset_gives_keras_nlps_numbers(tmp_path: Path) -> None:
    size = {"num_layers": 2, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 12, "max_sequence_length": 10}
    backbone = keras_nlp.models.XLMRobertaBackbone(vocabulary_size=300, **size)
    for variable in backbone.weights:
        variable.assign(np.random.normal(size=variable.shape))
    tokenizer = keras_nlp.models.XLMRobertaTokenizer(proto=sentence_piece_model())
    backbone.save_to_preset(tmp_path)
    tokenizer.save_to_preset(tmp_path)

    encoder = text_encoder("xlm_roberta", dim=None, length=10, weights=tmp_path)
    packer = keras_nlp.layers.StartEndPacker(10, tokenizer.start_token_id, tokenizer.end_token_id, 1)
    token_ids = np.array(packer(tokenizer(TITLES)))
    np.testing.assert_array_equal(encoder.tokenize(TITLES), token_ids)
    expected = backbone({"token_ids": token_ids, "padding_mask": token_ids != tokenizer.pad_token_id}, training=False)
    np.testing.assert_allclose(encoder.embed(TITLES), expected[:, 0], rtol=1e-4, atol=1e-5)
