"""Settings of both encoders."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from mim_tf.encoder_names import TextName, VisionName
from mim_tf.settings.section import Section


class EncoderTrainingSettings(Section):
    """How much of an encoder learns."""

    weights: str | None = Field(None, description="folder or keras-nlp preset to start from; null: random weights")
    trainable_blocks: int | None = Field(None, ge=0, description="the last blocks that learn; null: all, 0: none")
    lora_rank: int = Field(0, ge=0, description="low-rank adapters learn instead of the backbone; 0: none")
    recompute: bool = Field(False, description="recompute activations: less memory, a longer step")
    projection: Literal["learnt", "principal"] = Field(
        "learnt", description="from the backbone to `dim`; principal: fixed, its principal components on the catalogue"
    )

    @model_validator(mode="after")
    def _one_way_to_freeze(self) -> Self:
        if self.lora_rank and self.trainable_blocks is not None:
            raise ValueError("`lora_rank` and `trainable_blocks` exclude each other")
        if self.projection == "principal" and not self.weights:
            raise ValueError("`projection: principal` is for pre-trained backbones: set `weights` too")
        return self


class VisionSettings(EncoderTrainingSettings):
    """F_V."""

    name: VisionName = Field("vit_mini", description="a size, or with weights a family")
    image_size: int | None = Field(None, ge=8, description="pixels, both sides; null: the weights', or 224")


class TextSettings(EncoderTrainingSettings):
    """F_L."""

    name: TextName = Field("bert_tiny", description="a size, or with weights a family")
    length: int = Field(24, ge=4, description="tokens per title, the rest is cut off")


class EncoderSettings(Section):
    """Both encoders and the embedding dimension they share."""

    vision: VisionSettings = VisionSettings()
    text: TextSettings = TextSettings()
    dim: int = Field(64, ge=2, description="embedding dimension")
    precision: Literal["float32", "mixed_bfloat16"] = Field("float32", description="of the backbones")
