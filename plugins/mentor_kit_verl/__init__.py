"""verl as a training engine: a recipe becomes a verl run with mentor-kit's episodes and rewards, and comes back.

    recipe ──settings, rows──> verl.yaml, train.parquet, launch.sh
    launch.sh ──verl on Ray──> metrics, episodes, weights ──> run folder

`loop` and `optimizer` are imported by verl's own processes, and everything else without verl.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mentor_kit.hooks import hookimpl

if TYPE_CHECKING:
    from mentor_kit.hooks.registry import Register

MENTORKIT_API = 1


@hookimpl
def register_engines(register: Register) -> None:
    """verl, newest release."""
    from mentor_kit_verl.engine import VerlEngine
    from mentor_kit_verl.options import VerlOptions

    register(
        "verl",
        options=VerlOptions,
        build=lambda options, _: VerlEngine(options),
        summary="verl on Ray: FSDP2 updates, vLLM samples, on one node or many",
    )
