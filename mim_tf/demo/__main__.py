"""`python -m mim_tf.demo`: from a drawn shop to ranked products over gRPC, by the commands a user would type."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mim_tf.commandline import command_parser, run_command
from mim_tf.errors import ServingError
from mim_tf.settings import load_settings

_EPILOG = """\
Draws a shop of a few hundred products with shoppers who have a taste in content and a taste of another kind, trains
all stages on it, compares the click model with and without content, exports it, starts a server on a free port and
asks it to rank products for one user. Running it again continues, and does not repeat what is finished.

example:
  python -m mim_tf.demo --workdir build/demo
"""


def main() -> None:
    """Run the command."""
    parser = command_parser("demo", "The whole chain on a drawn shop, in minutes.", _EPILOG)
    parser.add_argument("--workdir", default="build/demo", metavar="DIR", help="folder of the run (%(default)s)")
    parser.add_argument("--config", default="configs/demo.yaml", metavar="FILE", help="settings (%(default)s)")
    parser.add_argument(
        "--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE", help="override one setting"
    )
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server is stopped on the way out
    workdir = Path(arguments.workdir)
    shop, models = workdir / "shop", workdir / "models"
    name = load_settings(arguments.config, arguments.overrides).export.model_name
    overrides = [
        f"data.items={shop / 'items.parquet'}",
        f"data.impressions={shop / 'impressions.parquet'}",
        f"data.pairs={shop / 'pairs.parquet'}",
        *arguments.overrides,
    ]
    run = ["--config", arguments.config, "--workdir", str(workdir)]
    run += [part for override in overrides for part in ("--set", override)]

    if not shop.exists():
        _say_and_run("mim_tf.data.demo_shop", "--out", str(shop))
    _say_and_run("mim_tf.train", "--stage", "all", *run)
    if not _is_exported(models / name, workdir / "rank" / "metrics.json"):
        _say_and_run("mim_tf.export", *run, "--to", str(models))
    _say_and_run("mim_tf.evaluate", *run)
    with _server(models) as address:
        _rank_for_one_user(address, name, workdir, shop)


def _say_and_run(module: str, *arguments: str) -> None:
    """Run one of our commands, showing how a user would type it; its own message tells what went wrong."""
    print(f"\n$ python -m {module} {' '.join(arguments)}", flush=True)
    code = subprocess.run([sys.executable, "-m", module, *arguments], check=False).returncode
    if code:
        raise SystemExit(code)


@contextmanager
def _server(models: Path) -> Iterator[str]:
    """The stand-in server on a free port; yields its address."""
    command = ["-m", "mim_tf.serving", "--models", str(models), "--port", "0"]
    print(f"\n$ python {' '.join(command)}", flush=True)
    with subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True) as server:
        try:
            yield _address(server)
        finally:
            server.terminate()


def _address(server: subprocess.Popen[str]) -> str:
    """What the server says it listens at."""
    for line in server.stdout or ():
        print(line, end="")
        if line.startswith("Listening on "):
            return line.split()[2]
    raise ServingError("the server ended before it listened.")


def _is_exported(model: Path, trained: Path) -> bool:
    """Whether a version of the model was exported since it was trained."""
    versions = [path for path in model.glob("*") if path.name.isdecimal()]
    return any(path.stat().st_mtime > trained.stat().st_mtime for path in versions)


def _rank_for_one_user(address: str, name: str, workdir: Path, shop: Path) -> None:
    """Ask for the products shown to one user in the validation days, best first."""
    from mim_tf.serving.client import Client

    rows = _candidates_of_one_user(workdir)
    with Client(address) as client:
        client.wait_until_ready(name)
        inputs = client.signatures(name)["predict"].inputs
        probabilities = client.predict(name, {column: rows[column] for column in inputs})["probability"]
    titles = _titles(shop)
    history = [item for item in rows["history_item_id"][0] if item != -1]
    print(f"\nUser {rows['user_id'][0]} bought, latest last:")
    print("\n".join(f"  {titles[item]}" for item in history[-6:]))
    print("\nThe server's ranking of what was shown next, and what was bought of it:\n")
    print("  probability  bought  product")
    for row in (-probabilities).argsort():
        bought = "yes" if rows["label"][row] else ""
        print(f"  {probabilities[row]:11.3f}  {bought:<6}  {titles[rows['item_id'][row]]}")
    metrics = json.loads((workdir / "rank" / "metrics.json").read_text(encoding="utf-8"))
    print(f"\nAUC {metrics['auc']:.4f} with content, {metrics['auc_base']:.4f} without.")
    print(f"Pictures of the training: tensorboard --logdir {workdir}")


def _candidates_of_one_user(workdir: Path, count: int = 12) -> dict[str, Any]:
    """The first validation impressions of the user with most purchases there, all with the history before them."""
    import numpy as np

    from mim_tf.data.records import read_impressions

    batches = [
        {name: column.numpy() for name, column in batch.items()}
        for batch in read_impressions(workdir / "prepare" / "records", "validation", batch_size=1024)
    ]
    impressions = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    users, purchases = np.unique(impressions["user_id"][impressions["label"] == 1], return_counts=True)
    of_user = np.flatnonzero(impressions["user_id"] == users[purchases.argmax()])
    rows = of_user[np.argsort(impressions["timestamp"][of_user], kind="stable")][:count]
    candidates = {name: column[rows] for name, column in impressions.items()}
    for name in candidates:
        if name.startswith("history_") or name == "timestamp":  # as if all were shown at once
            candidates[name] = np.repeat(candidates[name][:1], len(rows), axis=0)
    return candidates


def _titles(shop: Path) -> dict[int, str]:
    import pyarrow.parquet as parquet

    table = parquet.read_table(shop / "items.parquet", columns=["item_id", "title"])
    return dict(zip(table["item_id"].to_pylist(), table["title"].to_pylist(), strict=True))


if __name__ == "__main__":
    run_command(main)
