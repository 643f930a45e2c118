"""A plugin for mentor-kit: the loss `sapo` and the advantage estimator `optimal_baseline`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mentor_kit.hooks import hookimpl

if TYPE_CHECKING:
    from mentor_kit.hooks import Register

MENTORKIT_API = 1


@hookimpl
def register_losses(register: Register) -> None:
    """Offer the loss `sapo`."""
    from mentor_kit_objectives.sapo import SAPO, SAPOOptions

    register(
        "sapo",
        options=SAPOOptions,
        build=lambda options, context: SAPO(options),
        summary="a soft gate on each token's ratio in place of clipping",
    )


@hookimpl
def register_advantages(register: Register) -> None:
    """Offer the advantage estimator `optimal_baseline`."""
    from mentor_kit_objectives.optimal_baseline import OptimalBaseline

    register(
        "optimal_baseline",
        build=lambda options, context: OptimalBaseline(),
        summary="the reward less its group's mean, weighed by lengths (OPO)",
    )
