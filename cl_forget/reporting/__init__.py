"""From results to something people read: a table on the terminal, a picture, and one self-contained page."""

from __future__ import annotations

from cl_forget.reporting.build import specify
from cl_forget.reporting.loading import Loaded, load_results, load_runs
from cl_forget.reporting.opening import is_sweep, load_sweeps, specify_folders
from cl_forget.reporting.specification import Figure, Specification, Table
from cl_forget.reporting.styles import method_styles
from cl_forget.reporting.sweep import specify_sweep
from cl_forget.reporting.terminal.table import terminal_table
from cl_forget.reporting.write import Report, report, report_sweep, write_report

__all__ = [
    "Figure",
    "Loaded",
    "Report",
    "Specification",
    "Table",
    "is_sweep",
    "load_results",
    "load_runs",
    "load_sweeps",
    "method_styles",
    "report",
    "report_sweep",
    "specify",
    "specify_folders",
    "specify_sweep",
    "terminal_table",
    "write_report",
]
