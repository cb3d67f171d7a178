"""What preparation costs, and that both engines make the same of a log: `python -m benchmarks.preparation`.

    .venv/bin/python -m benchmarks.preparation 1 5 20 --engine local spark      # millions of impressions
    .venv/bin/python -m benchmarks.preparation --config configs/hm.yaml --engine local spark

Each log is `benchmarks.generated_log`'s, with a user for 200 impressions and 20,000 items; histories of 50; no pairs,
whose images would be the work. With `--config` it is what that file prepares, pairs and all. Rates are impressions of
the log by the seconds that `mim_tf.prepare` says it took, without the start of the process. Memory is the peak of what
the process and its children have for themselves (proportional set size), looked at twice a second. Bytes are those of
the impressions' record files. Where both engines ran, their folders are compared byte for byte.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import tempfile
from pathlib import Path

import pyarrow.parquet as pq
import yaml

from benchmarks.generated_log import DAYS, FIRST_SECOND, SECONDS_PER_DAY
from benchmarks.peak_memory import run_module
from mim_tf.data.record_schema import IMPRESSION_SPLITS, RecordSchema

_MB, _REJECTS = 2**20, "rejects.parquet"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.preparation", description=__doc__)
    parser.add_argument("millions", type=float, nargs="*", help="impressions of each log")
    parser.add_argument("--config", help="a run whose data are prepared")
    parser.add_argument("--set", dest="overrides", action="append", default=[], help="overrides a setting of --config")
    parser.add_argument("--engine", nargs="+", choices=("local", "spark"), default=["local"])
    parser.add_argument("--engine-option", action="append", default=[], help="handed to `spark` alone")
    parser.add_argument("--folder", type=Path, help="where logs and records are made; default: a temporary folder")
    arguments = parser.parse_args()
    if bool(arguments.millions) == bool(arguments.config):
        parser.error("either millions of impressions or --config must be given.")
    print("impressions  engine  seconds  impressions/s  peak MB  bytes each  equal")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        if arguments.config:
            overrides = [part for override in arguments.overrides for part in ("--set", override)]
            _measure(["--config", arguments.config, *overrides], Path(name), arguments)
        for millions in arguments.millions:
            folder = Path(name) / str(millions)
            run_module("benchmarks.generated_log", "--to", str(folder), "--impressions", str(round(millions * 1e6)))
            config = folder / "config.yaml"
            config.write_text(yaml.safe_dump({"data": _data(folder)}), encoding="utf-8")
            _measure(["--config", str(config)], folder, arguments)
            shutil.rmtree(folder)


def _measure(run: list[str], folder: Path, arguments: argparse.Namespace) -> None:
    """Print the lines of one log."""
    digests: set[str] = set()
    for engine in arguments.engine:
        options = arguments.engine_option if engine == "spark" else []
        print(_measured(run, folder / engine, engine, options, digests), flush=True)


def _measured(run: list[str], workdir: Path, engine: str, options: list[str], digests: set[str]) -> str:
    """A line of the table; leaves nothing but the digest."""
    of_engine = [part for option in options for part in ("--engine-option", option)]
    peak = run_module("mim_tf.prepare", *run, "--workdir", str(workdir), "--engine", engine, *of_engine)
    metrics = json.loads((workdir / "prepare" / "metrics.json").read_text(encoding="utf-8"))
    written = round(sum(metrics[f"impressions_{split}"] for split in IMPRESSION_SPLITS))
    impressions = written + round(metrics["impressions_rejected"] + metrics.get("impressions_before", 0))
    records = workdir / "prepare" / "records"
    is_first = not digests
    digests.add(_digest(records))
    shards = RecordSchema.load(records).shards
    size = sum(shard.bytes for name in IMPRESSION_SPLITS.values() for shard in shards[name])
    shutil.rmtree(workdir)
    equal = "-" if is_first else "yes" if len(digests) == 1 else "NO"
    return (
        f"{impressions:11,}  {engine:6}  {metrics['seconds']:7.1f}  {impressions / metrics['seconds']:13,.0f}"
        f"  {peak / _MB:7.0f}  {size / written:10.1f}  {equal}"
    )


def _data(folder: Path) -> dict[str, object]:
    return {
        "items": str(folder / "items.parquet"),
        "impressions": str(folder / "impressions"),
        "validation_from": FIRST_SECOND + (DAYS - 1) * SECONDS_PER_DAY,
        "pairs_share": 0.0,
        "shards": 8,
    }


def _digest(records: Path) -> str:
    """Of all that preparation wrote; of the rejects what they say, not how Parquet lays it down."""
    digest = hashlib.sha256()
    for path in sorted(path for path in records.rglob("*") if path.is_file()):
        digest.update(str(path.relative_to(records)).encode())
        if path.name == _REJECTS:
            digest.update(repr(pq.read_table(path).to_pylist()).encode())
        else:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


if __name__ == "__main__":
    main()
