"""Rows of data files; see `mentor_kit.runs.rows`."""

from mentor_kit.runs.rows import BadRow, DataRow, hint_for, is_number, read_rows

__all__ = ["BadRow", "DataRow", "hint_for", "is_number", "read_rows"]
