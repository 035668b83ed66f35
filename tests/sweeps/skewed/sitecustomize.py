"""Found first on the path, it puts the clock of a process ahead of everybody's, where the environment says so."""

import os
import time

AHEAD = float(os.environ.get("TEST_CLOCK_AHEAD", 0))
if AHEAD:
    time.time = lambda own=time.time: own() + AHEAD
