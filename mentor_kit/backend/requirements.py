"""The packages that a backend imports when it is built, and whether they are installed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec


@dataclass(frozen=True)
class Requirements:
    """The packages of a backend."""

    backend: str
    """The backend's registered name, which is also the name of mentor-kit's extra that installs its packages."""
    packages: tuple[str, ...]
    """Names of modules that it imports."""

    def missing(self) -> str:
        """Return which packages are not installed, with the command that installs them; empty where all are."""
        missing = [name for name in self.packages if find_spec(name) is None]
        if not missing:
            return ""
        return f"{', '.join(missing)} not installed\ninstall: pip install 'mentor-kit[{self.backend}]'"

    def checks(self, describe: Callable[[], str]) -> list[tuple[str, bool, str]]:
        """Return the backend's check for the hook `doctor_checks`.

        Args:
            describe: returns versions and devices; called only where all packages are installed.
        """
        missing = self.missing()
        return [(f"{self.backend} backend", not missing, missing or describe())]
