"""Puts this folder's helpers on the path of the tests in `formats`."""
