"""What a step of a click model costs, by the impression."""

from __future__ import annotations

from typing import NamedTuple

TRAINING = "training"
"""Steps of forward pass, backward pass and update."""
INFERENCE = "inference"
"""Steps of the forward pass alone."""


class StepCost(NamedTuple):
    """What one step takes: of operations and time per sample, of memory in all.

    A sample is an impression that was shown: the cost of a batch is divided by how many it shows. A row of a batch is a
    session, whose impressions share the work on its history. Rows are padded, with impressions up to `rank.candidates`
    and with behaviours up to `data.history_length`, and what is done to padding is in the cost; the tower, DIN and DIEN
    leave it out.
    """

    gflops: float
    """1e9 floating point operations per sample, as `count_operations` has them: a multiplication and its addition are
    two."""
    seconds: float
    """Per sample; the median over steps."""
    memory: float
    """Bytes, at most; of the GPU where there is one, otherwise of the process."""
    memory_before: float
    """Bytes of that before the first step: TensorFlow, weights, tables, the traced step."""

    def change_from(self, base: StepCost) -> StepCost:
        """`(A - B) / B` of each number: how much dearer this is than `base`, relative to `base`."""
        return StepCost(*((cost - of_base) / of_base for cost, of_base in zip(self, base, strict=True)))
