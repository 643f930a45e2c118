"""Advantage estimators, one a file: from the rewards of a step's rollouts to one number a rollout."""
