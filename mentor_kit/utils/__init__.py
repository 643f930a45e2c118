"""Small utilities that know nothing of the toolkit's words."""
