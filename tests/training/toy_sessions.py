"""Records of a small drawn shop: what its users were shown on 20 days, the last five of which validate."""

from pathlib import Path

from mim_tf.data.demo_shop import make_demo_shop
from mim_tf.data.preparation import prepare


def write_records(folder: Path, shards: int) -> Path:
    """Draw the shop into `folder` and prepare it; the folder of the records."""
    make_demo_shop(folder / "shop", items=50, users=60, days=20, searches=10)
    prepare(
        items=folder / "shop" / "items.parquet",
        impressions=folder / "shop" / "impressions.parquet",
        folder=folder / "records",
        validation_from=1_735_689_600 + 15 * 86_400,
        shards=shards,
    )
    return folder / "records"
