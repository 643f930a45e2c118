"""What all tests share."""

import os

from hypothesis import settings

# A slow machine is no fault of the code: speed is measured in benchmarks/. Where changes are judged, property tests
# look at the same examples each time; everywhere else at new ones.
settings.register_profile("untimed", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("untimed")
