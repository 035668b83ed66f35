"""Benchmarks of the literature by their names: task lists, orders, class names, prompts, and what was published."""
