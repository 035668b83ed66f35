"""Sweeps: many runs as Ray Tune trials, found with the least compute and kept in one table."""
