"""A run whose stages before `rank` are finished, with toy encoders: `python -m tests.efficiency.toy_run FOLDER`.

With Keras 3, which these stages need: so tests of what comes after start it as a process.
"""

import sys
from pathlib import Path

from mim_tf.data.demo_shop import make_demo_shop
from mim_tf.settings import Settings, dump_settings
from mim_tf.workdir import earlier_stages

DIM, LENGTH = 4, 6


def settings_of(folder: Path) -> Settings:
    """Settings of a small run."""
    files = {name: str(folder / "shop" / f"{name}.parquet") for name in ("items", "impressions")}
    encoders = {"vision": {"name": "vit_toy", "image_size": 32}, "text": {"name": "bert_toy", "length": 8}, "dim": DIM}
    return Settings.model_validate(
        {
            "data": {**files, "validation_from": "2025-01-17", "history_length": LENGTH, "shards": 1},
            "encoders": encoders,
            "pretrain": {"image_text": None},
            "csft": {"epochs": 0},
            "rank": {"ubm": "average", "batch_size": 32, "tower_units": [8], "item_dim": 4, "category_dim": 2},
        }
    )


def main(folder: Path) -> None:
    """Draw a shop and run the stages."""
    from mim_tf.training.stages import run_stage

    settings = settings_of(folder)
    make_demo_shop(folder / "shop", items=60, users=40, days=20, searches=10)
    (folder / "run.yaml").write_text(dump_settings(settings))
    for stage in earlier_stages("rank", settings):
        run_stage(stage, settings, folder, "")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
