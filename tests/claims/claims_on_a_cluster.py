"""What runs claims on a Ray cluster in a process of its own.

python tests/claims/claims_on_a_cluster.py ADDRESS FOLDER FILE...: as `cl-forget claims FILE... --address ADDRESS`,
with the runs and the ledger in the folder.
"""

from __future__ import annotations

import sys
from pathlib import Path

import tiny  # noqa: F401  registers the tiny model and streams

from cl_forget.cli.claims import claims

if __name__ == "__main__":
    address, folder, *files = sys.argv[1:]
    claims([*map(Path, files)], address=address, output=Path(folder), ledger=Path(folder) / "ledger")
