"""The tools `weather`. A typed function is enough: types and docstring make its schema."""

from __future__ import annotations

from mentor_kit.core.tool import ToolError

from mentor_kit_weather.cities import TEMPERATURES


def temperature(city: str) -> int:
    """Get today's temperature in a city, in degrees Celsius.

    Args:
        city: The city's English name.
    """
    if city not in TEMPERATURES:
        raise ToolError(f"no temperature is known for {city!r}")  # the model reads this, and may try again
    return TEMPERATURES[city]
