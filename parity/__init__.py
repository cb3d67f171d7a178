"""Our encoders against the libraries that they were published in: `make parity`."""
