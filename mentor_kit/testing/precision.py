"""How exactly a policy computes, which says what the contract suites allow for.

    class TestMine(BackendContract, GradientContract, TrajectoryContract): ...        # in float32
    class TestMine16(SixteenBits, BackendContract, GradientContract, TrajectoryContract):
        @pytest.fixture
        def policy_factory(self): ...     # token_budget -> a fresh policy in 16 bits
        @pytest.fixture
        def exact_factory(self): ...      # the same in float32, whose weights may be other ones

The oracle and the trainer of the latter are of the weights as they were rounded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import pytest

from mentor_kit.backend.policy import Policy
from mentor_kit.testing.material import TOLERANCE, PolicyFactory

Unrounded = Callable[[Policy], Policy]
"""A policy in float32 with another's weights and reference, as its optimizer has them; to read alone.

A small step shows in it that 16 bits do not show.
"""


class Precision:
    """What rounding may move; the values are those of float32."""

    rounding: ClassVar[float] = TOLERANCE
    """A log-probability at temperature 1, in nats; other outcomes of an update, as a share."""
    gradient_rounding: ClassVar[float] = 3e-3
    """A gradient, as a share of its length."""
    trajectory_rounding: ClassVar[float] = 1e-3
    """What twenty steps of training change, as a share of it."""

    @pytest.fixture
    def unrounded(self) -> Unrounded:
        """As `Unrounded`; in float32 the policy itself."""
        return lambda policy: policy


class SixteenBits(Precision):
    """Of a tiny student that computes in bfloat16, with large weights."""

    rounding = 0.2
    gradient_rounding = 0.1
    trajectory_rounding = 0.05

    @pytest.fixture
    def unrounded(self, exact_factory: PolicyFactory, tmp_path_factory: pytest.TempPathFactory) -> Unrounded:
        """As `Unrounded`, by a checkpoint."""

        def read(policy: Policy) -> Policy:
            folder, exact = tmp_path_factory.mktemp("weights"), exact_factory(None)
            policy.save(folder)
            exact.restore(folder)
            return exact

        return read
