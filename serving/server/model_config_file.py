"""The file that names the models of a server: TF Serving's `--model_config_file`."""

from __future__ import annotations

from pathlib import Path

from tensorflow_serving.config import model_server_config_pb2

from mim_tf.errors import ServingError
from mim_tf.serving.server.config_files import read_config
from mim_tf.serving.server.model_config import ModelConfig

_PLATFORM = "tensorflow"


class ModelConfigFile:
    """A `ModelServerConfig` in text format.

    ```
    model_config_list {
      config {
        name: "ranker" base_path: "/models/ranker" model_platform: "tensorflow"
        model_version_policy { specific { versions: 41 versions: 42 } }
        version_labels { key: "stable" value: 41 }
        version_labels { key: "canary" value: 42 }
      }
    }
    ```

    Args:
        path: The file.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def read(self) -> dict[str, ModelConfig]:
        """Reads the models.

        Returns:
            The models by name, sorted.

        Raises:
            ServingError: If the file cannot be read, or says what TF Serving or the stand-in refuses.
        """
        config = read_config(self.path, model_server_config_pb2.ModelServerConfig)
        if config.HasField("custom_model_config"):
            raise self._error("hold a model_config_list", "custom_model_config")
        models = sorted((self._model(model) for model in config.model_config_list.config), key=lambda model: model.name)
        names = [model.name for model in models]
        repeated = next((name for name in names if names.count(name) > 1), None)
        if repeated is not None or not models:
            raise self._error("list every model once, and at least one", repeated or "no model")
        return dict(zip(names, models, strict=True))

    def _model(self, config: model_server_config_pb2.ModelConfig) -> ModelConfig:
        if not config.name:
            raise self._error("name every model", "a config without name")
        if config.HasField("logging_config") or config.model_type:
            unknown = "logging_config" if config.HasField("logging_config") else "model_type"
            raise self._error("use what the stand-in has", f'{unknown} of model "{config.name}"')
        if config.model_platform != _PLATFORM:
            raise self._error(f'give every model model_platform: "{_PLATFORM}"', f'"{config.model_platform}"')
        if not config.base_path.startswith("/"):
            raise self._error("give every model an absolute base_path", f'"{config.base_path}"')
        return ModelConfig(
            config.name, Path(config.base_path), **self._policy(config), labels=dict(config.version_labels)
        )

    def _policy(self, config: model_server_config_pb2.ModelConfig) -> dict[str, int | frozenset[int] | None]:
        """Returns the arguments of `ModelConfig` that say which versions; by default the highest one."""
        policy = config.model_version_policy
        choice = policy.WhichOneof("policy_choice")
        if choice == "all":
            return {"latest": None}
        if choice == "specific":
            if not policy.specific.versions:
                raise self._error("name the versions of a specific policy", f'none of model "{config.name}"')
            return {"specific": frozenset(policy.specific.versions)}
        return {"latest": policy.latest.num_versions or 1}

    def _error(self, rule: str, received: str) -> ServingError:
        return ServingError(f"{self.path} must {rule}. Received: {received}.")
