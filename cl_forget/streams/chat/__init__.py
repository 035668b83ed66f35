"""A task and suites for instruction-tuned language models: everyday questions, answers judged by code."""
