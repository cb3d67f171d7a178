"""Where weights come from: keras-nlp's presets against keras-nlp itself, and what a folder or handle can be instead."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
import keras
import keras_nlp
import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import save_file

from mim_tf.encoders import TEXT_FAMILIES, VISION_FAMILIES, text_encoder, vision_encoder, vocabulary_files
from mim_tf.encoders.family import TextFamily, VisionFamily
from tests.encoders.toys import tokenizer_files

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "Red", "dress", "##es", "crème", "creme"]
TITLES = tf.constant(["Red dresses", "", "crème dress " * 9])
BERT_CONFIG = {
    "model_type": "bert",
    "vocab_size": len(VOCABULARY),
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "hidden_size": 8,
    "intermediate_size": 16,
    "max_position_embeddings": 12,
    "type_vocab_size": 2,
}


def randomise(model: keras.Model) -> keras.Model:
    """Random weights, biases and norms included."""
    for variable in model.weights:
        variable.assign(np.random.normal(size=variable.shape) / 3)
    return model


def bert_checkpoint(folder: Path, **changed: Any) -> Path:
    """A folder as transformers writes it, with one tensor that fits nothing."""
    config = {key: value for key, value in (BERT_CONFIG | changed).items() if value is not None}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    for name, content in vocabulary_files(VOCABULARY).items():
        (folder / name).write_bytes(content)
    save_file({"other.weight": np.zeros(3, np.float32)}, folder / "model.safetensors")
    return folder


@pytest.fixture(scope="module")
def vit_preset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A preset of ViT with class token, 32 pixels, whose pixels are centred on another mean for each channel."""
    folder = tmp_path_factory.mktemp("vit")
    vit = keras_nlp.models.ViTBackbone(
        image_shape=(32, 32, 3), patch_size=16, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=12
    )
    converter = keras_nlp.layers.ViTImageConverter(
        image_size=(32, 32), scale=[1 / 51, 1 / 102, 1 / 255], offset=[-2.0, -1.0, -0.5], crop_to_aspect_ratio=False
    )
    randomise(vit).save_to_preset(folder)
    converter.save_to_preset(folder)
    return folder


@pytest.fixture(scope="module")
def bert_preset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A preset of BERT, cased."""
    folder = tmp_path_factory.mktemp("bert")
    bert = keras_nlp.models.BertBackbone(
        vocabulary_size=20, num_layers=2, num_heads=2, hidden_dim=8, intermediate_dim=12, max_sequence_length=10
    )
    randomise(bert).save_to_preset(folder)
    keras_nlp.models.BertTokenizer(VOCABULARY, lowercase=False).save_to_preset(folder)
    return folder


def test_a_vit_preset_gives_keras_nlps_numbers(vit_preset: Path) -> None:
    encoder = vision_encoder("vit", dim=None, weights=vit_preset)
    assert encoder.image_size == 32
    images = np.random.randint(0, 256, (2, 32, 32, 3), np.uint8)
    converter = keras_nlp.layers.ViTImageConverter.from_preset(str(vit_preset))
    backbone = keras_nlp.models.ViTBackbone.from_preset(str(vit_preset))
    expected = backbone(converter(images.astype(np.float32)), training=False)
    np.testing.assert_allclose(encoder(images.astype(np.float32)), expected[:, 0], rtol=1e-4, atol=1e-4)
    encoded = tf.stack([tf.io.encode_png(image) for image in images])
    np.testing.assert_allclose(encoder.embed(encoded), expected[:, 0], rtol=1e-4, atol=1e-4)


def test_a_preset_may_be_used_at_another_image_size(vit_preset: Path) -> None:
    encoder = vision_encoder("vit", dim=3, image_size=48, weights=vit_preset)
    assert encoder(np.zeros((2, 48, 48, 3), np.float32)).shape == (2, 3)


def test_a_bert_preset_gives_keras_nlps_ids_and_numbers(bert_preset: Path) -> None:
    encoder = text_encoder("bert", dim=None, length=10, weights=bert_preset)
    tokenizer = keras_nlp.models.BertTokenizer.from_preset(str(bert_preset))
    packer = keras_nlp.layers.StartEndPacker(10, tokenizer.cls_token_id, tokenizer.sep_token_id, 0)
    token_ids = np.array(packer(tokenizer(TITLES)))
    np.testing.assert_array_equal(encoder.tokenize(TITLES), token_ids)
    backbone = keras_nlp.models.BertBackbone.from_preset(str(bert_preset))
    mask = token_ids != 0
    inputs = {"token_ids": token_ids, "padding_mask": mask, "segment_ids": np.zeros_like(token_ids)}
    sequence = np.array(backbone(inputs, training=False)["sequence_output"])
    expected = np.stack([tokens[real].mean(axis=0) for tokens, real in zip(sequence, mask, strict=True)])
    # keras-nlp approximates GELU, up to 5e-4 beside BERT's, which is ours.
    np.testing.assert_allclose(encoder.embed(TITLES), expected, rtol=1e-2, atol=1e-2)
    assert np.abs(expected).mean() > 0.1


def test_a_preset_whose_patches_are_not_square_is_refused(tmp_path: Path) -> None:
    size = {"num_layers": 1, "num_heads": 1, "hidden_dim": 4, "mlp_dim": 4}
    keras_nlp.models.ViTBackbone(image_shape=(32, 32, 3), patch_size=(16, 8), **size).save_to_preset(tmp_path)
    with pytest.raises(ValueError, match=r"`patch_size` must be that of a square\. Received: 16 by 8 pixels"):
        vision_encoder("vit", dim=4, weights=tmp_path)


def test_a_handle_without_a_network_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(handle: str) -> keras.Model:
        raise ConnectionError(f"no route to {handle}\nand more")

    bert, vit = TEXT_FAMILIES["bert"], VISION_FAMILIES["vit"]
    assert bert.preset
    assert vit.preset
    monkeypatch.setitem(TEXT_FAMILIES, "bert", replace(bert, preset=replace(bert.preset, backbone=offline)))
    monkeypatch.setitem(VISION_FAMILIES, "vit", replace(vit, preset=replace(vit.preset, backbone=offline)))
    message = (
        r"there is no folder {}, and .* cannot be loaded \(ConnectionError: no route to {}\)\. "
        r"Without a network, run .*save_to_preset"
    )
    with pytest.raises(FileNotFoundError, match=message.format(*["bert_tiny_en_uncased"] * 2)):
        text_encoder("bert", dim=4, length=8, weights="bert_tiny_en_uncased")
    with pytest.raises(FileNotFoundError, match=message.format(*["kaggle://keras/vit/keras/vit_base"] * 2)):
        vision_encoder("vit", dim=4, weights="kaggle://keras/vit/keras/vit_base")


def test_a_repository_is_fetched_and_read_as_a_folder(monkeypatch: pytest.MonkeyPatch, vit_preset: Path) -> None:
    asked = []

    def fetch(repository: str, allow_patterns: list[str]) -> str:
        asked.append(repository)
        assert not {"*.bin", "*.pt", "*.pth", "*.pkl"} & set(allow_patterns)
        return str(vit_preset)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    assert vision_encoder("vit", dim=3, weights="hf://owner/vit").image_size == 32
    assert asked == ["owner/vit"]


def test_a_repository_out_of_reach_says_which_files_to_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(repository: str, allow_patterns: list[str]) -> str:
        raise huggingface_hub.errors.LocalEntryNotFoundError("no connection")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(FileNotFoundError, match=r"cannot fetch hf://o/n .*no connection.*config\.json.*its path"):
        text_encoder("bert", dim=4, length=8, weights="hf://o/n")


def test_a_family_without_presets_asks_for_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TEXT_FAMILIES, "bert", replace(TEXT_FAMILIES["bert"], preset=None))
    with pytest.raises(ValueError, match=r"`weights` must be a folder with bert, of which keras-nlp has no presets"):
        text_encoder("bert", dim=4, length=8, weights="some_preset")


def test_a_sizes_name_must_fit_its_weights(vit_preset: Path, bert_preset: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"must be those of vit_tiny\. In .*: .*num_layers is 2, not 12; .*is 8, not 192"
    ):
        vision_encoder("vit_tiny", dim=4, weights=vit_preset)
    with pytest.raises(ValueError, match=r"must be those of bert_base\. In .*: num_layers is 2, not 12; "):
        text_encoder("bert_base", dim=4, length=8, weights=bert_preset)
    with pytest.raises(ValueError, match=r"must be those of bert_base\. In .*: num_layers is 1, not 12; "):
        text_encoder("bert_base", dim=4, length=8, weights=bert_checkpoint(tmp_path))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"model_type": "t5"}, r"must be of \w+, written by transformers\. Received: 't5'"),
        ({"model_type": None}, r"must be of \w+, written by transformers\. Received: None"),
        ({"hidden_size": None}, r"config\.json must have 'hidden_size', which transformers writes"),
        ({"hidden_act": "relu"}, r"config\.json: `hidden_act` must be gelu\. Received: 'relu'"),
        ({}, r"does not fit bert:\n  missing: .*\n(.*\n)*  unexpected: other\.weight"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(changed: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        text_encoder("bert", dim=4, length=8, weights=bert_checkpoint(tmp_path, **changed))


def test_a_timm_folder_of_another_architecture_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"architecture": "resnet18"}', encoding="utf-8")
    with pytest.raises(ValueError, match=r"written by transformers or timm\. Received: 'resnet18'"):
        vision_encoder("vit", dim=4, weights=tmp_path)


@pytest.mark.parametrize("family", [*TEXT_FAMILIES.values(), *VISION_FAMILIES.values()])
def test_no_family_takes_an_unknown_architecture_for_its_own(family: TextFamily | VisionFamily) -> None:
    for config in ({}, {"model_type": "unheard-of"}, {"architecture": "unheard_of"}):
        assert not any(layout.recognises(config) for layout in family.layouts)


def pooled(folder: Path, modes: dict[str, Any]) -> Path:
    """A checkpoint with sentence-transformers' file on how it is pooled."""
    (bert_checkpoint(folder) / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(modes), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    "modes",
    [
        {"pooling_mode_max_tokens": True},
        {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True},
        {"pooling_mode_mean_tokens": False},
    ],
)
def test_a_pooling_that_is_not_known_is_refused(modes: dict[str, Any], tmp_path: Path) -> None:
    message = r"1_Pooling.config\.json must ask for one of pooling_mode_cls_token, .*Received: "
    with pytest.raises(ValueError, match=message):
        text_encoder("bert", dim=4, length=8, weights=pooled(tmp_path, {"word_embedding_dimension": 8} | modes))


def test_a_folder_without_anything_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"must hold config\.json and model\.safetensors, or an encoder"):
        vision_encoder("vit", dim=4, weights=tmp_path)
    with pytest.raises(FileNotFoundError, match=r"must be a folder with .*There is no such folder"):
        vision_encoder("vit", dim=4, weights=tmp_path / "missing")


def test_a_folder_with_pickles_alone_is_told_to_convert_them(tmp_path: Path) -> None:
    (bert_checkpoint(tmp_path) / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(
        FileNotFoundError, match=r"must hold model\.safetensors.*pytorch_model\.bin may run code when read"
    ):
        text_encoder("bert", dim=4, length=8, weights=tmp_path)


def test_a_saved_encoder_is_of_one_modality_and_family(tmp_path: Path) -> None:
    text_encoder("bert_toy", dim=4, length=8, files=tokenizer_files("bert")).save_folder(tmp_path)
    with pytest.raises(ValueError, match="must hold a vision encoder"):
        vision_encoder("vit", dim=4, weights=tmp_path)
    with pytest.raises(ValueError, match=r"`weights` must be of a bge encoder\. In .*: bert\."):
        text_encoder("bge", dim=4, length=8, weights=tmp_path)


def test_further_modules_of_sentence_transformers_are_refused(tmp_path: Path) -> None:
    folder = bert_checkpoint(tmp_path)
    kinds = ["Transformer", "Pooling", "Dense", "Normalize"]
    modules = [{"type": f"sentence_transformers.models.{kind}"} for kind in kinds]
    (folder / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    with pytest.raises(ValueError, match=r"modules\.json must have no modules but .*Received: \['Dense'\]"):
        text_encoder("bert", dim=4, length=8, weights=folder)


def test_a_damaged_encoder_folder_is_named(tmp_path: Path) -> None:
    vision_encoder("vit_toy", dim=4, image_size=32).save_folder(tmp_path)
    weights = tmp_path / "encoder.weights.h5"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"encoder\.weights\.h5 must hold the weights of the encoder beside it"):
        vision_encoder("vit", dim=4, weights=tmp_path)
