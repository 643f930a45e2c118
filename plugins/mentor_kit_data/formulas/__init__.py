"""Compares two strings as mathematics: notation to tokens, to a formula, to a comparison by kind."""
