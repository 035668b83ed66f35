"""The typed files: sections of a run, an experiment and a sweep; reading, overrides, explanations."""
