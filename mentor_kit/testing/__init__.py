"""Contract suites for backends, losses and advantage estimators: whoever writes one subclasses them in its tests."""
