from auditing_conftest import _cache, clip_run, lm_run  # noqa: F401  fixtures of this folder
