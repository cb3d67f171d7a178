"""What the commands share: their arguments, and errors as one sentence instead of a traceback."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable

from mim_tf.engine import Engine
from mim_tf.errors import MimError, StageStoppedError
from mim_tf.settings import Settings, load_settings

_STOPPED_BY_SIGTERM = 143


def command_parser(name: str, description: str, epilog: str) -> argparse.ArgumentParser:
    """A parser for `python -m mim_tf.<name>` whose epilog is printed as it is written."""
    return argparse.ArgumentParser(
        prog=f"python -m mim_tf.{name}",
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def stage_parser(name: str, description: str, epilog: str) -> argparse.ArgumentParser:
    """A parser with the arguments of every command that works on a run: --config, --workdir, --set."""
    parser = command_parser(name, description, epilog)
    parser.add_argument("--config", required=True, metavar="FILE", help="YAML file that describes the run")
    parser.add_argument("--workdir", required=True, metavar="DIR", help="folder of the run; one folder per stage in it")
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override one setting, as in --set rank.ubm=average; may be repeated",
    )
    return parser


def add_engine(parser: argparse.ArgumentParser) -> None:
    """Add --engine and --engine-option to a command that can work on a cluster."""
    parser.add_argument("--engine", choices=("local", "spark"), default="local", help="where the tables are worked on")
    parser.add_argument(
        "--engine-option",
        dest="engine_options",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a setting of the engine's own, as spark.master=yarn; may be repeated",
    )


def engine_of(arguments: argparse.Namespace) -> Engine:
    """The engine that --engine and --engine-option ask for."""
    return Engine.parse(arguments.engine, arguments.engine_options)


def options_of(arguments: argparse.Namespace) -> list[str]:
    """--config, --workdir and --set as they were given, for another command on the same run."""
    overrides = [part for override in arguments.overrides for part in ("--set", override)]
    return ["--config", arguments.config, "--workdir", arguments.workdir, *overrides]


def settings_of(arguments: argparse.Namespace) -> Settings:
    """The settings that --config and --set ask for."""
    return load_settings(arguments.config, arguments.overrides)


def set_keras_mode(*, legacy: bool) -> None:
    """Choose tf_keras or Keras 3 for this process; the mode is fixed once TensorFlow is imported.

    Raises:
        RuntimeError: TensorFlow is already imported in the other mode.
    """
    wanted = "1" if legacy else "0"
    if "tensorflow" in sys.modules and os.environ.get("TF_USE_LEGACY_KERAS", "0") != wanted:
        raise RuntimeError(f"set TF_USE_LEGACY_KERAS={wanted} before TensorFlow is imported.")
    os.environ["TF_USE_LEGACY_KERAS"] = wanted


def run_command(main: Callable[[], None]) -> None:
    """Run a command's main function; an error the user can mend becomes one message and exit code 1."""
    # Commands import TensorFlow only after their arguments were understood, so this comes in time. What goes wrong
    # comes back as an exception; the rest (no GPU found, slow paths taken) would bury the commands' own words.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    try:
        main()
    except StageStoppedError as error:
        print(f"{error} The same command continues.", file=sys.stderr)
        raise SystemExit(_STOPPED_BY_SIGTERM) from None
    except (MimError, OSError) as error:  # an OSError names its file: no such folder, no permission, disk full
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        print("interrupted; the same command continues.", file=sys.stderr)
        raise SystemExit(130) from None
