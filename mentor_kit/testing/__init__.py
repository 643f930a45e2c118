"""Contract suites for backends, samplers, losses, advantage estimators and data formats, to subclass in tests."""
