"""Losses, one a file, and the arithmetic around every one of them: KL estimators, importance weights, aggregation."""
