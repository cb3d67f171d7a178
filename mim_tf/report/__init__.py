"""One page on one run: what it learned, and where it fails."""
