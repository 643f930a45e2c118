"""Two tools for the questions in shop-train.csv and shop-test.csv: prices of a small shop."""

from __future__ import annotations

PRICES = {"apple": 3, "bread": 5, "cheese": 12, "honey": 9, "milk": 2, "tea": 7}


def price(article: str) -> int:
    """Look up what an article costs.

    Args:
        article: its name in the singular, such as apple.
    """
    if article not in PRICES:
        raise ValueError(f"the shop has no {article!r}; it has {', '.join(PRICES)}")
    return PRICES[article]


def multiply(a: float, b: float) -> float:
    """Multiply two numbers.

    Args:
        a: the first number.
        b: the second number.
    """
    return a * b
