"""Tasks from files of data."""
