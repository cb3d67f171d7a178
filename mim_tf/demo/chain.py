"""The drawn shop and what is made of it, by the commands a user would type."""

from __future__ import annotations

import subprocess
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mim_tf.commandline import command_parser
from mim_tf.errors import ServingError
from mim_tf.settings import load_settings


class DemoChain:
    """A workdir with a drawn shop, the stages on it and the exported ranker.

    Args:
        arguments: of a `demo_parser`.
    """

    def __init__(self, arguments: Namespace):
        self.workdir = Path(arguments.workdir)
        self.shop, self.models = self.workdir / "shop", self.workdir / "models"
        self.model = load_settings(arguments.config, arguments.overrides).export.model_name
        files = [f"data.{name}={self.shop / name}.parquet" for name in ("items", "impressions", "pairs")]
        self.run = ["--config", arguments.config, "--workdir", str(self.workdir)]
        self.run += [part for override in [*files, *arguments.overrides] for part in ("--set", override)]

    def make(self) -> None:
        """Draw, train and export, as far as that is not done."""
        if not self.shop.exists():
            say_and_run("mim_tf.data.demo_shop", "--out", str(self.shop))
        say_and_run("mim_tf.train", "--stage", "all", *self.run)
        if not self._is_exported():
            say_and_run("mim_tf.export", *self.run, "--to", str(self.models))

    def _is_exported(self) -> bool:
        """Whether a version of the model was exported since it was trained."""
        trained = (self.workdir / "rank" / "metrics.json").stat().st_mtime
        versions = [path for path in (self.models / self.model).glob("*") if path.name.isdecimal()]
        return any(path.stat().st_mtime > trained for path in versions)

    def titles(self) -> dict[int, str]:
        """The shop's titles by item."""
        import pyarrow.parquet as parquet

        table = parquet.read_table(self.shop / "items.parquet", columns=["item_id", "title"])
        return dict(zip(table["item_id"].to_pylist(), table["title"].to_pylist(), strict=True))

    @contextmanager
    def server(self) -> Iterator[str]:
        """The stand-in server on a free port, for as long as it is needed; yields its address."""
        with started("mim_tf.serving", "--models", str(self.models), "--port", "0") as server:
            yield _address(server)


def demo_parser(name: str, description: str, epilog: str) -> ArgumentParser:
    """A parser for `python -m mim_tf.<name>` with what a chain needs."""
    parser = command_parser(name, description, epilog)
    parser.add_argument("--workdir", default="build/demo", metavar="DIR", help="folder of the run (%(default)s)")
    parser.add_argument("--config", default="configs/demo.yaml", metavar="FILE", help="settings (%(default)s)")
    parser.add_argument(
        "--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE", help="override one setting"
    )
    return parser


def say_and_run(module: str, *arguments: str) -> None:
    """Run one of our commands, showing how a user would type it; its own message tells what went wrong."""
    code = subprocess.run(_said(module, arguments), check=False).returncode
    if code:
        raise SystemExit(code)


@contextmanager
def started(module: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """One of our commands beside this one; it is ended in the end."""
    with subprocess.Popen(_said(module, arguments), stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()


def _said(module: str, arguments: Sequence[str]) -> list[str]:
    print(f"\n$ python -m {module} {' '.join(arguments)}", flush=True)
    return [sys.executable, "-m", module, *arguments]


def _address(server: subprocess.Popen[str]) -> str:
    """What the server says it listens at."""
    for line in server.stdout or ():
        print(line, end="")
        if line.startswith("Listening on "):
            return line.split()[2]
    raise ServingError("the server ended before it listened.")
