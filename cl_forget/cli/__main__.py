"""`python -m cl_forget.cli` is `cl-forget`."""

from cl_forget.cli import main

main()
