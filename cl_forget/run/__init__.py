"""The main job: one run, an experiment of many, what they share, and a dry run."""
