"""Settings of a run, from one YAML file."""

from mim_tf.settings.click_model import (
    ALWAYS_THERE,
    BucketisedSettings,
    FeatureSettings,
    HashedSettings,
    RankSettings,
    RankStrategy,
    RepresentSettings,
    UbmName,
    VocabularySettings,
)
from mim_tf.settings.data import DataSettings
from mim_tf.settings.encoder_trainings import (
    OBJECTIVES,
    ContrastiveSettings,
    CsftSettings,
    HeldOutSettings,
    ImageTextSettings,
    PretrainSettings,
    TrainingSettings,
)
from mim_tf.settings.encoders import EncoderSettings, EncoderTrainingSettings, TextSettings, VisionSettings
from mim_tf.settings.run import Settings, dump_settings, load_settings, parse_settings
from mim_tf.settings.serving import ITEM_ENCODER, QUERY_ENCODER, ExportSettings, RealtimeSettings

__all__ = [
    "ALWAYS_THERE",
    "ITEM_ENCODER",
    "OBJECTIVES",
    "QUERY_ENCODER",
    "BucketisedSettings",
    "ContrastiveSettings",
    "CsftSettings",
    "DataSettings",
    "EncoderSettings",
    "EncoderTrainingSettings",
    "ExportSettings",
    "FeatureSettings",
    "HashedSettings",
    "HeldOutSettings",
    "ImageTextSettings",
    "PretrainSettings",
    "RankSettings",
    "RankStrategy",
    "RealtimeSettings",
    "RepresentSettings",
    "Settings",
    "TextSettings",
    "TrainingSettings",
    "UbmName",
    "VisionSettings",
    "VocabularySettings",
    "dump_settings",
    "load_settings",
    "parse_settings",
]
