"""Utilities that are independent of the toolkit's types."""
