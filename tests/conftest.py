"""What all tests share."""

from hypothesis import settings

# a slow machine is no fault of the code: speed is measured in benchmarks/
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
