"""Stage 1: adapt the encoders to the shop's images and titles (DDA), then align them (DMA)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from mim_tf.data.record_schema import TRAIN_ITEMS, RecordSchema
from mim_tf.encoders import Encoder, TextEncoder, VisionEncoder, layer_rates
from mim_tf.errors import SettingsError
from mim_tf.pretraining.causal_language import CausalLanguage
from mim_tf.pretraining.image_text import ImageText
from mim_tf.pretraining.image_views import ImageViews
from mim_tf.pretraining.masked_image import MaskedImage
from mim_tf.pretraining.masked_language import MaskedLanguage
from mim_tf.settings import Settings, TrainingSettings
from mim_tf.training.held_out import held_out_losses, held_out_retrieval, project_held_out
from mim_tf.training.input import Records, epoch_steps
from mim_tf.training.loop import held_out, nothing_held_out, train
from mim_tf.training.models import build_text, build_vision, records_folder, save_encoder, save_encoders
from mim_tf.training.strategies import make_strategy, no_worker_lost, wait_for_all
from mim_tf.training.workers import Worker, worker_of
from mim_tf.workdir import StageFolder, write_aside


class _Adaptation(NamedTuple):
    """An objective of one encoder.

    Attributes:
        modality: vision or text.
        objective: makes it of the encoder and its settings.
    """

    modality: str
    objective: Callable[[Any, Any], keras.Model]


_ADAPTATIONS = {
    "masked_language": _Adaptation(
        "text", lambda text, o: MaskedLanguage(text, mask_share=o.mask_share, whole_words=o.whole_words)
    ),
    "causal_language": _Adaptation("text", lambda text, o: CausalLanguage(text)),
    "masked_image": _Adaptation(
        "vision", lambda vision, o: MaskedImage(vision, mask_share=o.mask_share, mask_size=o.mask_size)
    ),
    "image_views": _Adaptation("vision", lambda vision, o: ImageViews(vision, temperature=o.temperature)),
}


@no_worker_lost()
def run(settings: Settings, workdir: Path) -> dict[str, float]:
    """Run the adaptations that are set, then the alignment, and leave both encoders in the stage's folder."""
    strategy = make_strategy(settings.pretrain.strategy)  # before anything else of TensorFlow
    stage = _Stage(settings, workdir, strategy, worker_of(settings.pretrain.strategy))
    adaptations = _adaptations(settings)
    for name, options in (*adaptations.items(), ("image_text", settings.pretrain.image_text)):
        if options:  # what the last training refuses is not to come to light after the first
            stage.check(name, options)
    for name, options in adaptations.items():
        if options:
            stage.adapt(name, options)
    return stage.align()


def _adaptations(settings: Settings) -> dict[str, TrainingSettings | None]:
    chosen = settings.pretrain
    return {
        "masked_language": chosen.masked_language,
        "causal_language": chosen.causal_language,
        "masked_image": chosen.masked_image,
        "image_views": chosen.image_views,
    }


class _Stage:
    """Stage 1 under way: each training starts from the encoders that the one before it left."""

    def __init__(self, settings: Settings, workdir: Path, strategy: tf.distribute.Strategy, worker: Worker):
        self._settings, self._strategy, self._worker = settings, strategy, worker
        self._encoders = settings.encoders
        self._prepare, self._stage = StageFolder(workdir, "prepare"), StageFolder(workdir, "pretrain")
        self._metrics: dict[str, float] = {}
        folder = records_folder(self._prepare)
        counts = RecordSchema.load(folder).counts
        self._records = Records(folder, TRAIN_ITEMS, counts[TRAIN_ITEMS])
        self._holds_out = self._prepare.metrics["items_held_out"] > 0

    def check(self, name: str, options: TrainingSettings) -> None:
        """Refuse a training whose batches the records or the strategy do not give."""
        epoch_steps(self._records.count, options, self._strategy.num_replicas_in_sync, f"pretrain.{name}")

    def adapt(self, name: str, options: TrainingSettings) -> None:
        """Train one encoder alone, unless an interrupted run has done so."""
        modality, make = _ADAPTATIONS[name]
        folder = self._stage.path / name
        done = folder / "metrics.json"
        if not done.exists():
            encoder, metrics = self._adapted(name, modality, make, options)
            if self._worker.is_chief:
                save_encoder(encoder, folder / "encoder")
                write_aside(done, json.dumps(metrics, indent=2) + "\n")
            wait_for_all(self._strategy)  # the others read what the chief has written
        self._note(name, json.loads(done.read_text(encoding="utf-8")))
        start = {"weights": str(folder / "encoder")}
        section = self._encoders.vision if modality == "vision" else self._encoders.text
        self._encoders = self._encoders.model_copy(update={modality: section.model_copy(update=start)})

    def align(self) -> dict[str, float]:
        """Train both encoders together, if that is wanted, and hand them to the next stages."""
        options = self._settings.pretrain.image_text
        if options is None:
            vision, text = self._vision(), self._text()
            if self._holds_out:
                evaluation = held_out_retrieval(self._records.folder)(ImageText(vision, text))
                self._note("encoders", held_out(evaluation))
        else:
            objective, metrics = self._train(
                "image_text",
                options,
                lambda: ImageText(self._vision(), self._text(), temperature=options.temperature, loss=options.loss),
                evaluate=held_out_retrieval(self._records.folder) if self._holds_out else nothing_held_out,
                rates=lambda model: _rates(options, model.vision, model.text),
            )
            self._note("image_text", metrics)
            vision, text = objective.vision, objective.text
            if self._holds_out and self._worker.is_chief:
                project_held_out(objective, self._records.folder, self._stage.tensorboard / "projector")
        if self._worker.is_chief:
            save_encoders(self._stage, vision, text)
        return self._metrics

    def _adapted(
        self, name: str, modality: str, make: Callable[[Any, Any], keras.Model], options: TrainingSettings
    ) -> tuple[Encoder, dict[str, float]]:
        encoders: list[Encoder] = []

        def objective() -> keras.Model:
            encoders.append(self._vision() if modality == "vision" else self._text())
            if not any(variable.trainable for variable in encoders[0].backbone.weights):
                raise SettingsError(
                    f"`encoders.{modality}.trainable_blocks` must be at least 1 for `pretrain.{name}` to adapt them."
                )
            try:
                return make(encoders[0], options)
            except ValueError as error:
                raise SettingsError(f"pretrain.{name}: {error}") from error

        _, metrics = self._train(
            name,
            options,
            objective,
            evaluate=held_out_losses(self._records.folder, self._settings.seed)
            if self._holds_out
            else nothing_held_out,
            rates=lambda model: _rates(options, encoders[0]),
        )
        return encoders[0], metrics

    def _train(
        self, name: str, options: TrainingSettings, objective: Callable[[], keras.Model], **how: Any
    ) -> tuple[Any, dict[str, float]]:
        keras.utils.set_random_seed(self._settings.seed)  # each training alike, whatever ran before it
        return train(
            objective,
            self._records,
            options,
            section=f"pretrain.{name}",
            checkpoints=self._stage.checkpoints / name,
            tensorboard=self._stage.tensorboard / name,
            seed=self._settings.seed,
            strategy=self._strategy,
            worker=self._worker,
            **how,
        )

    def _vision(self) -> VisionEncoder:
        return build_vision(self._encoders)

    def _text(self) -> TextEncoder:
        return build_text(self._encoders, self._prepare)

    def _note(self, name: str, metrics: dict[str, float]) -> None:
        self._metrics |= {f"{name}_{key}": value for key, value in metrics.items()}


def _rates(options: TrainingSettings, *encoders: Encoder) -> dict[str, float]:
    """Relative learning rates of the encoders' variables; both have paths of their own."""
    if options.layer_decay == 1:
        return {}
    return {path: rate for encoder in encoders for path, rate in layer_rates(encoder, options.layer_decay).items()}
