"""Contract suites: what every backend is held to."""
