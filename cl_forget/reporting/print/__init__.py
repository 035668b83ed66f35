"""The report as pictures and tables for paper."""
