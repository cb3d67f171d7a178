"""The operations of the item encoder of vit_toy and bert_toy, by hand from the sizes of its layers, per item."""

DIM, SIZE = 4, 32
PATCH, PATCHES, TOKENS, HIDDEN = 16, (SIZE // 16) ** 2, 8, 32


def block(length: int, mlp: int) -> int:
    """A transformer's: query, key, value and output; scores and what they weigh; up and down again."""
    return 2 * (4 * length * HIDDEN**2 + 2 * length**2 * HIDDEN + 2 * length * HIDDEN * mlp)


PATCH_EMBEDDING = 2 * PATCHES * (PATCH * PATCH * 3) * HIDDEN
# vit_toy has two blocks, bert_toy one; both are projected.
BLOCKS = 2 * block(PATCHES, 64) + block(TOKENS, 128) + 2 * (2 * HIDDEN * DIM)
# [h_img; 1] times [h_txt; 1], 25 products, and a dense layer of them.
FUSION = (DIM + 1) ** 2 + 2 * (DIM + 1) ** 2 * DIM
# At this width what is done to single numbers shows. Layer norms, five and three of them: mean and variance, a sum and
# three, and two to apply them; GELU, but for the error function: x / sqrt(2), 1 + it, x / 2, times it.
SINGLE = 6 * (5 * PATCHES + 3 * TOKENS) * HIDDEN + 4 * (2 * PATCHES * 64 + TOKENS * 128)
# Of each pixel's channels: by 255, less the mean, by the deviation.
NORMALISED = 3 * SIZE * SIZE * 3
