"""Claims that are written down before they are run, their runs, and the verdicts on them."""
