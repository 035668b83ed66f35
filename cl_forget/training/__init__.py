"""The training loop, what its hooks are given, frozen models and checkpoints."""
