"""Contract suites for backends, losses, advantage estimators and data formats, to subclass in the tests of one."""
