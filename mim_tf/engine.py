"""Where a stage's tables are worked on: in this process, or on a Spark cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mim_tf.errors import SettingsError


@dataclass(frozen=True)
class Engine:
    """An engine. It decides how fast a result is there, not what it is, so it is no setting of the run.

    Attributes:
        name: "local", in this process, or "spark".
        options: the engine's own settings by name, as `memory_limit` of DuckDB or `spark.master`.
    """

    name: str = "local"
    options: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, name: str, options: Sequence[str]) -> Engine:
        """From the arguments of a command: `KEY=VALUE` each.

        Raises:
            SettingsError: one is not of this form.
        """
        for option in options:
            if not option.partition("=")[0] or "=" not in option:
                raise SettingsError(f"--engine-option must be KEY=VALUE, as spark.master=local[8]. Received: {option}.")
        return cls(name, dict(option.split("=", 1) for option in options))


LOCAL = Engine()
