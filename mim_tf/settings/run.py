"""One YAML file describes a whole run: typed, checked, immutable settings of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from mim_tf.errors import SettingsError
from mim_tf.settings.click_model import ALWAYS_THERE, RankSettings, RepresentSettings, UbmName
from mim_tf.settings.data import DataSettings
from mim_tf.settings.encoder_trainings import CsftSettings, PretrainSettings
from mim_tf.settings.encoders import EncoderSettings, TextSettings, VisionSettings
from mim_tf.settings.section import Section, problem_of
from mim_tf.settings.serving import ExportSettings, RealtimeSettings


class ExperimentSettings(Section):
    """What `mim_tf.experiment` compares, beside what the other sections say."""

    seeds: int = Field(5, ge=1, description="whole chains, from the data to the click model, of each version")
    ubms: dict[UbmName, dict[str, Any]] = Field(
        {}, description="settings of `rank` that a user behaviour model has of its own, as {bst: {epochs: 8}}"
    )
    vision: tuple[VisionSettings, ...] = Field((), description="Figure 5: others than `encoders.vision`, weakest first")
    text: tuple[TextSettings, ...] = Field((), description="Figure 5: others than `encoders.text`, weakest first")


class Settings(Section):
    """A whole run."""

    data: DataSettings
    encoders: EncoderSettings = EncoderSettings()
    pretrain: PretrainSettings = PretrainSettings()
    csft: CsftSettings = CsftSettings()
    represent: RepresentSettings = RepresentSettings()
    rank: RankSettings = RankSettings()
    export: ExportSettings = ExportSettings()
    realtime: RealtimeSettings = RealtimeSettings()
    experiment: ExperimentSettings = ExperimentSettings()
    seed: int = 0

    @model_validator(mode="after")
    def _files_where_they_are_read(self) -> Self:
        if self.data.cache is not None and self.rank.strategy == "parameter_server":
            raise ValueError(
                "`data.cache` is filled by the process that reads, which a parameter server's workers cannot: leave it "
                "out, so that the files are fetched to the workdir"
            )
        return self

    @model_validator(mode="after")
    def _fitting_behaviour_models(self) -> Self:
        """What a user behaviour model has of its own must be settings of `rank`, and none that tables compare."""
        compared = {"base", "content", "fusion", "id_interest", "seeds", "strategy", "ubm"}
        for ubm, own in self.experiment.ubms.items():
            if wrong := ", ".join(sorted(compared & own.keys())):
                raise ValueError(f"`experiment.ubms.{ubm}` must leave out what is compared. Received: {wrong}")
            try:
                RankSettings.model_validate({**self.rank.model_dump(), "ubm": ubm, "ubm_options": {}, **own})
            except ValidationError as error:
                problem = problem_of(error.errors()[0], RankSettings)
                raise ValueError(f"`experiment.ubms.{ubm}` must be settings of `rank`: {problem}") from error
        return self

    @model_validator(mode="after")
    def _comparable_queries(self) -> Self:
        if self.rank.query and self.represent.centre:
            raise ValueError("`rank.query` compares queries with h_MM, which `represent.centre` moves: set it to false")
        return self

    @model_validator(mode="after")
    def _known_features(self) -> Self:
        columns = [*self.data.item_features, *self.data.impression_features, *ALWAYS_THERE]
        for name in self.rank.features:
            if name not in columns:
                known = ", ".join(sorted(columns))
                raise ValueError(
                    f"`rank.features` must name columns of `data.item_features` or `impression_features`, {known}. "
                    f"Received: {name}"
                )
        return self


def load_settings(path: str | Path, overrides: Sequence[str] = ()) -> Settings:
    """Read a YAML file and apply `a.b=value` overrides.

    Args:
        path: the YAML file.
        overrides: `section.key=value` texts; the value is read as YAML.

    Raises:
        SettingsError: a file that is missing or no YAML mapping, a malformed override, an unknown key or a wrong value.
    """
    try:
        tree = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"cannot read the settings file {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not valid YAML: {error}") from error
    tree = {} if tree is None else tree
    if not isinstance(tree, dict):
        raise SettingsError(f"{path} must hold a mapping of sections. Received: {type(tree).__name__}.")
    tree = {section: {} if values is None else values for section, values in tree.items()}  # a heading alone
    for override in overrides:
        _apply(tree, override)
    return parse_settings(tree, source=str(path))


def parse_settings(tree: dict[str, Any], source: str) -> Settings:
    """Settings from a tree of plain values; `source` names it in errors."""
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        problems = [f"  {problem_of(entry, Settings)}" for entry in error.errors()]
        raise SettingsError("\n".join([f"{source}: {len(problems)} wrong setting(s)", *problems])) from error


def dump_settings(settings: Settings) -> str:
    """The resolved settings, defaults included, as YAML."""
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False)


def _apply(tree: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not all(key.split(".")):
        raise SettingsError(f"--set must be section.key=value. Received: {override!r}.")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SettingsError(f"--set {key}: the value is not valid YAML. Received: {text!r}.") from error
    *sections, name = key.split(".")
    for section in sections:
        if not isinstance(tree.setdefault(section, {}), dict):
            raise SettingsError(f"--set {key}: {section!r} is a value, not a section.")
        tree = tree[section]
    tree[name] = value
