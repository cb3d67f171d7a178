"""Which versions of one model are to be served, and under which labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mim_tf.errors import ServingError
from mim_tf.serving.server.version_folders import VersionFolder, find_model_folders, find_versions


@dataclass(frozen=True)
class ModelConfig:
    """A model as the operator wants it served, whatever of it is there.

    Args:
        name: By which requests name it. Requests never name a folder.
        folder: Holds a folder for each version.
        latest: How many of the highest versions are served; None for every version. Counts without `specific` alone.
        specific: The versions that are served, if there are any; otherwise `latest` says which.
        labels: Version by label.
    """

    name: str
    folder: Path
    latest: int | None = 1
    specific: frozenset[int] = frozenset()
    labels: Mapping[str, int] = field(default_factory=dict)

    def wanted(self) -> dict[int, VersionFolder]:
        """Finds the versions that are there and to be served, lowest first.

        Raises:
            OSError: If the folder cannot be read.
        """
        found = find_versions(self.folder)
        if self.specific:
            return {version: folder for version, folder in found.items() if version in self.specific}
        highest = list(found.items())
        return dict(highest if self.latest is None else highest[-self.latest :])

    def wanted_at_start(self) -> dict[int, VersionFolder]:
        """Finds the versions to be served, all of which must be there.

        Raises:
            ServingError: If a version or the folder is missing.
        """
        try:
            wanted = self.wanted()
        except OSError as error:
            raise ServingError(f'model "{self.name}": its folder cannot be read: {error}.') from error
        missing = sorted(self.specific - set(wanted))
        if missing or not wanted:
            which = f"version {missing[0]}" if missing else "a version"
            raise ServingError(f'model "{self.name}" must have {which} in {self.folder}. Export it there first.')
        return wanted


def find_models(folder: Path) -> dict[str, ModelConfig]:
    """Configures every model of a folder, in its highest version and without labels.

    The folder is laid out as `<model>/<integer version>/saved_model.pb`: what the TF Serving image expects under
    `/models`, and each `<model>` what `--model_base_path` names. Whatever is not an integer is ignored.

    Returns:
        The models by name, sorted.

    Raises:
        ServingError: If the folder does not exist or holds no model.
    """
    return {model.name: ModelConfig(model.name, model) for model in find_model_folders(folder)}
