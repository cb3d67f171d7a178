"""The versions that the paper's tables compare, as changes of a run's settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, get_args

from mim_tf.errors import SettingsError
from mim_tf.experiment.chain import changed, without_pretraining
from mim_tf.settings import OBJECTIVES, Settings, UbmName

UBM_NAMES: Mapping[str, str] = {
    "average": "Avg Pooling",
    "din": "DIN",
    "dien": "DIEN",
    "bst": "BST",
    "twin": "TWIN",
    "sim": "SIM",
}
"""The user behaviour models as the paper writes them, in its order."""

_WITHOUT_CSFT = {"csft.epochs": 0, "csft.fusion_units": ()}


class Version(NamedTuple):
    """One row of a table.

    Attributes:
        name: as the paper writes it.
        changes: of the run's settings, by name.
        variant: which of the rank stage's models it is, `model` or `base`.
        reason: why it cannot be computed from these settings, if so.
    """

    name: str
    changes: Mapping[str, Any] = {}
    variant: str = "model"
    reason: str | None = None

    @property
    def of_click_model(self) -> bool:
        """Whether it is no more than another click model, on the run's own embeddings."""
        return self.variant == "base" or any(name.startswith("rank.") and name != "rank.base" for name in self.changes)


def mim(settings: Settings) -> Version:
    """The run itself, MIM as the settings describe it. Its base is trained too."""
    return Version("MIM", _of_ubm(settings, settings.rank.ubm))


def base(settings: Settings) -> Version:
    """The run's user behaviour model without content."""
    return Version("Base", _of_ubm(settings, settings.rank.ubm), "base")


def user_behaviour_models(settings: Settings) -> dict[str, tuple[Version, Version]]:
    """Table 2: by the model's name, Base and Base+MIM."""
    return {
        UBM_NAMES[ubm]: (
            Version("Base", _of_ubm(settings, ubm), "base"),
            Version("Base+MIM", _of_ubm(settings, ubm)),
        )
        for ubm in sorted(get_args(UbmName), key=list(UBM_NAMES).index)
    }


def pre_training_steps(settings: Settings) -> list[Version]:
    """Table 3: one step more in each version."""
    named = dict(settings.pretrain)
    adaptations = [name for name in OBJECTIVES if name != "image_text" and named[name] is not None]
    given, not_tuned = _encoder_given(settings), _no_csft(settings)
    none_named = None if adaptations else "`pretrain` names no adaptation"
    not_aligned = None if settings.pretrain.image_text is not None else "`pretrain.image_text` is null"
    return [
        _alone("Plain FoM", without_pretraining() | _WITHOUT_CSFT, given),
        _alone("+DDA", without_pretraining(*adaptations) | _WITHOUT_CSFT, given or none_named),
        _alone("+DDA+DMA", _WITHOUT_CSFT, given or not_aligned),
        mim(settings)._replace(name="+DDA+DMA+C-SFT", reason=not_tuned),
    ]


def signals_and_losses(settings: Settings) -> list[Version]:
    """Table 4: what C-SFT learns from, and by which loss."""
    versions = [
        ("v1, CE, category", {"csft.loss": "category"}),
        ("v2, CE, click", {"csft.loss": "matching", "data.pairs_action": "click"}),
        ("v3, CE, purchase", {"csft.loss": "matching", "data.pairs_action": "purchase"}),
        ("v4, CL, click", {"csft.loss": "contrastive", "data.pairs_action": "click"}),
        ("v5, CL, purchase", {"csft.loss": "contrastive", "data.pairs_action": "purchase"}),
    ]
    return [_csft(settings, name, changes) for name, changes in versions]


def csft_ablations(settings: Settings) -> list[Version]:
    """Table 5, the upper half: C-SFT without one of its parts."""
    parts: dict[str, dict[str, Any]] = {
        "w/o TFN": {"csft.fusion": "concat"},
        "w/o ST-NSG": {"csft.st_nsg": None},
        "w/o multi-level InfoNCE": {"csft.alpha": 0.0, "csft.beta": 0.0},
        "w/o C-SFT": _WITHOUT_CSFT,
    }
    return [_without(settings, name, changes, _no_csft(settings)) for name, changes in parts.items()]


def ciubm_ablations(settings: Settings) -> list[Version]:
    """Table 5, the lower half: CiUBM without one of its modules."""
    parts = {"w/o ID interest module": "id_interest", "w/o content interest module": "content"}
    parts["w/o fusion interest module"] = "fusion"
    return [_without(settings, name, {f"rank.{module}": False}) for name, module in parts.items()]


def foundation_models(settings: Settings) -> dict[str, list[Version]]:
    """Figure 5: by `vision` and `text`, the run with other encoders, the run's own last."""
    options = settings.experiment
    others: dict[str, Sequence[Any]] = {"vision": options.vision, "text": options.text}
    own = {"vision": settings.encoders.vision.name, "text": settings.encoders.text.name}
    return {
        kind: [
            *(
                _alone(other.name, {f"encoders.{kind}": other.model_dump(mode="json")}, _encoder_given(settings))
                for other in encoders
            ),
            mim(settings)._replace(name=own[kind]),
        ]
        for kind, encoders in others.items()
    }


def _of_ubm(settings: Settings, ubm: UbmName) -> dict[str, Any]:
    """The run with another user behaviour model, which the run's `ubm_options` are not for."""
    others: dict[str, Any] = {} if ubm == settings.rank.ubm else {"rank.ubm": ubm, "rank.ubm_options": {}}
    return {**others, "rank.base": True}


def _alone(name: str, changes: Mapping[str, Any], reason: str | None = None) -> Version:
    """A version of the run whose base is another's, too."""
    return Version(name, {**changes, "rank.base": False}, reason=reason)


def _without(settings: Settings, name: str, changes: Mapping[str, Any], reason: str | None = None) -> Version:
    """The run without a part of it, which it has to have."""
    with suppress(SettingsError):  # which is told of where the version is computed
        if changed(settings, changes) == settings:
            reason = reason or "the run does without it already"
    return _alone(name, changes, reason)


def _encoder_given(settings: Settings) -> str | None:
    return None if settings.represent.encoder is None else "`represent.encoder` is given, so no encoder is trained"


def _no_csft(settings: Settings) -> str | None:
    return _encoder_given(settings) or (None if settings.csft.epochs else "`csft.epochs` is 0")


def _csft(settings: Settings, name: str, changes: Mapping[str, Any]) -> Version:
    if reason := _no_csft(settings):
        return _alone(name, changes, reason)
    if changed(settings, changes) == settings:  # it is the run itself
        return mim(settings)._replace(name=name)
    return _alone(name, changes)
