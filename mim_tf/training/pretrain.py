"""Stage 1: adapt the encoders to the shop's images and titles (DDA), then align them (DMA)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from mim_tf.data.record_schema import TRAIN_ITEMS, RecordSchema
from mim_tf.data.records import read_items
from mim_tf.encoders import Encoder, TextEncoder, VisionEncoder, project_on_principal_components
from mim_tf.errors import SettingsError
from mim_tf.pretraining.causal_language import CausalLanguage
from mim_tf.pretraining.image_text import ImageText
from mim_tf.pretraining.image_views import ImageViews
from mim_tf.pretraining.masked_image import MaskedImage
from mim_tf.pretraining.masked_language import MaskedLanguage
from mim_tf.settings import HeldOutSettings, Settings
from mim_tf.training.held_out import held_out_losses, held_out_retrieval, project_held_out
from mim_tf.training.input import Records, epoch_steps
from mim_tf.training.loop import nothing_held_out, train
from mim_tf.training.models import build_text, build_vision, rates_of, records_folder, save_encoder, save_encoders
from mim_tf.training.run_metrics import prefixed
from mim_tf.training.strategies import make_strategy, no_worker_lost, wait_for_all
from mim_tf.training.trainer import chunk_size_of
from mim_tf.training.workers import Worker, worker_of
from mim_tf.workdir import StageFolder, write_aside

_MOST_AT_ONCE = 256  # of an evaluation
_PROJECTED_ON = 4096  # items; the records come shuffled


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
        "text",
        lambda text, options: MaskedLanguage(text, mask_share=options.mask_share, whole_words=options.whole_words),
    ),
    "causal_language": _Adaptation("text", lambda text, options: CausalLanguage(text)),
    "masked_image": _Adaptation(
        "vision",
        lambda vision, options: MaskedImage(vision, mask_share=options.mask_share, mask_size=options.mask_size),
    ),
    "image_views": _Adaptation("vision", lambda vision, options: ImageViews(vision, temperature=options.temperature)),
}


@no_worker_lost()
def run(settings: Settings, workdir: Path) -> dict[str, float]:
    """Run the adaptations that are set, then the alignment, and leave both encoders in the stage's folder."""
    strategy = make_strategy(settings.pretrain.strategy)  # before anything else of TensorFlow
    stage = _Stage(settings, workdir, strategy, worker_of(settings.pretrain.strategy))
    adaptations = _adaptations(settings)
    stage.check(adaptations)
    for name, options in adaptations.items():
        stage.adapt(name, options)
    return stage.align()


def _adaptations(settings: Settings) -> dict[str, HeldOutSettings]:
    """Those that are set, in the order in which they run."""
    chosen = settings.pretrain
    known = {
        "masked_language": chosen.masked_language,
        "causal_language": chosen.causal_language,
        "masked_image": chosen.masked_image,
        "image_views": chosen.image_views,
    }
    return {name: options for name, options in known.items() if options}


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

    def check(self, adaptations: Mapping[str, HeldOutSettings]) -> None:
        """Refuse now what would come to light only when the trainings before it are done."""
        alignment = self._settings.pretrain.image_text
        for name, options in (*adaptations.items(), *([("image_text", alignment)] if alignment else [])):
            epoch_steps(self._records.count, options, self._strategy.num_replicas_in_sync, f"pretrain.{name}")
        for name in list(adaptations)[1:]:  # the first one is made at once anyway
            self._objective(name, adaptations[name])

    def adapt(self, name: str, options: HeldOutSettings) -> None:
        """Train one encoder alone, unless an interrupted run has done so."""
        folder = self._stage.path / name
        done = folder / "metrics.json"
        if not done.exists():
            encoder, metrics = self._adapted(name, options)
            if self._worker.is_chief:
                save_encoder(encoder, folder / "encoder")
                write_aside(done, json.dumps(metrics, indent=2) + "\n")
            wait_for_all(self._strategy)  # the others read what the chief has written
        self._note(name, json.loads(done.read_text(encoding="utf-8")))
        start, modality = {"weights": str(folder / "encoder")}, _ADAPTATIONS[name].modality
        section = self._encoders.vision if modality == "vision" else self._encoders.text
        self._encoders = self._encoders.model_copy(update={modality: section.model_copy(update=start)})

    def align(self) -> dict[str, float]:
        """Train both encoders together, if that is wanted, and hand them to the next stages."""
        options = self._settings.pretrain.image_text
        if options is None:
            vision, text = self._both()
            if self._holds_out:
                evaluation = held_out_retrieval(self._records.folder, _MOST_AT_ONCE)(ImageText(vision, text))
                self._note("encoders", prefixed("held_out", evaluation.scalars))
        else:
            records, at_once = self._records.folder, self._at_once(options)
            objective, metrics = self._train(
                "image_text",
                options,
                lambda: ImageText(*self._both(), temperature=options.temperature, loss=options.loss),
                evaluate=held_out_retrieval(records, at_once) if self._holds_out else nothing_held_out,
                rates=lambda model: rates_of(options, model.vision, model.text),
            )
            self._note("image_text", metrics)
            vision, text = objective.vision, objective.text
            if self._holds_out and self._worker.is_chief:
                project_held_out(objective, records, at_once, self._stage.tensorboard / "projector")
        if self._worker.is_chief:
            save_encoders(self._stage, vision, text)
        return self._metrics

    def _adapted(self, name: str, options: HeldOutSettings) -> tuple[Encoder, dict[str, float]]:
        encoders: list[Encoder] = []

        def objective() -> keras.Model:
            encoder, model = self._objective(name, options)
            encoders.append(encoder)
            return model

        at_once = self._at_once(options)
        evaluate = held_out_losses(self._records.folder, self._settings.seed, at_once)
        _, metrics = self._train(
            name,
            options,
            objective,
            evaluate=evaluate if self._holds_out else nothing_held_out,
            rates=lambda model: rates_of(options, encoders[0]),
        )
        return encoders[0], metrics

    def _objective(self, name: str, options: HeldOutSettings) -> tuple[Encoder, keras.Model]:
        modality, make = _ADAPTATIONS[name]
        encoder: Encoder = self._vision() if modality == "vision" else self._text()
        if not any(variable.trainable for variable in encoder.backbone.weights):
            raise SettingsError(
                f"`encoders.{modality}.trainable_blocks` must be at least 1 for `pretrain.{name}` to adapt them."
            )
        try:
            return encoder, make(encoder, options)
        except ValueError as error:
            raise SettingsError(f"pretrain.{name}: {error}") from error

    def _at_once(self, options: HeldOutSettings) -> int:
        """Examples that an evaluation takes at once: what a training step has room for has room there, too."""
        per_replica = options.batch_size // self._strategy.num_replicas_in_sync
        return min(chunk_size_of(options) or per_replica, _MOST_AT_ONCE)

    def _train(
        self, name: str, options: HeldOutSettings, objective: Callable[[], keras.Model], **how: Any
    ) -> tuple[Any, dict[str, float]]:
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

    def _both(self) -> tuple[VisionEncoder, TextEncoder]:
        """Both encoders as alignment starts from them: where that is wanted, projected on principal components."""
        vision, text = self._vision(), self._text()
        items = read_items(self._records.folder, "train", verify=False).take(_PROJECTED_ON)
        if self._encoders.vision.projection == "principal":
            images = items.map(lambda item: vision.decode(item["image"]), tf.data.AUTOTUNE)
            self._project(vision, images.batch(_MOST_AT_ONCE), "vision")
        if self._encoders.text.projection == "principal":
            titles = items.map(lambda item: item["title"]).batch(_MOST_AT_ONCE)
            self._project(text, titles.map(text.tokenize, tf.data.AUTOTUNE), "text")
        return vision, text

    def _project(self, encoder: Encoder, batches: tf.data.Dataset, modality: str) -> None:
        try:
            project_on_principal_components(encoder, batches)
        except ValueError as error:
            raise SettingsError(f"`encoders.dim` for `encoders.{modality}.projection: principal`: {error}") from error

    def _vision(self) -> VisionEncoder:
        keras.utils.set_random_seed(self._settings.seed)  # each encoder alike, whatever was made before it
        return build_vision(self._encoders)

    def _text(self) -> TextEncoder:
        keras.utils.set_random_seed(self._settings.seed)
        return build_text(self._encoders, self._prepare)

    def _note(self, name: str, metrics: dict[str, float]) -> None:
        self._metrics |= {f"{name}_{key}": value for key, value in metrics.items()}
