"""The cities of the sample components, with their temperatures."""

from __future__ import annotations

#: Degrees Celsius; no two cities are equally warm.
TEMPERATURES = {
    "Oslo": 3, "Rome": 18, "Cairo": 29, "Lima": 21, "Tokyo": 15, "Perth": 24,
    "Paris": 12, "Quito": 14, "Delhi": 33, "Nuuk": -7, "Accra": 31, "Dublin": 9,
}  # fmt: skip
