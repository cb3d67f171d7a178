"""Measurements, by command; each prints a table."""
