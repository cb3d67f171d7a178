"""Runs in the PyTorch environment of `make parity`: the reference implementations, and what they compute."""
