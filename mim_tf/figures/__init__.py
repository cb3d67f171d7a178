"""Figures of reports and TensorBoard: measured numbers in, matplotlib figures out."""
