"""BEiT-3 on images alone: the vision experts of a multiway transformer."""

from __future__ import annotations

from mim_tf.encoders.beit3 import GRIDS, VISION, blocks, build_vision, layout, size
from mim_tf.encoders.family import VisionFamily
from mim_tf.encoders.pixels import Pixels

BEIT3_VISION = VisionFamily(
    build=build_vision,
    sizes={
        "beit3_toy": size(2, 2, 32) | {"patch_size": 16},
        "beit3_base": size(12, 12, 768) | {"patch_size": 16},
        "beit3_large": size(24, 16, 1024) | {"patch_size": 16},
    },
    blocks=blocks,
    layouts=(layout(VISION),),
    pixels=Pixels(interpolation="bicubic"),
    grids=lambda arguments: GRIDS,
)
