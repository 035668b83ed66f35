"""The evaluation path, metrics as pure functions, probes, drift, landscape."""
