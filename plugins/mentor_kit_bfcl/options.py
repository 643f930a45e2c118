"""Options of BFCL's task and tools."""

from __future__ import annotations

from collections.abc import Sequence

from mentor_kit_tools.limits import Limits
from pydantic import ConfigDict, Field, field_validator

from mentor_kit.core.errors import did_you_mean
from mentor_kit.core.option_model import OptionModel
from mentor_kit.core.options import TaskOptions
from mentor_kit.core.task import TRAIN

#: Categories of one turn whose calls are compared with gold ones.
COMPARED = (
    *("simple_python", "multiple", "parallel", "parallel_multiple"),
    *("live_simple", "live_multiple", "live_parallel", "live_parallel_multiple"),
    *("simple_java", "simple_javascript"),
)
#: Categories of one turn that are about whether anything is called at all.
RELEVANCE = ("irrelevance", "live_irrelevance", "live_relevance")
#: Categories of several turns, about the effects of calls on simulated services.
MULTI_TURN = ("multi_turn_base", "multi_turn_miss_func", "multi_turn_miss_param", "multi_turn_long_context")

CATEGORIES = (*COMPARED, *RELEVANCE, *MULTI_TURN)

#: Short names of categories.
_ALIASES = {"simple": "simple_python"}


class BfclOptions(TaskOptions):
    """BFCL's problems."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    categories: tuple[str, ...] = Field(default=("simple_python", "multiple", "parallel", "irrelevance"), min_length=1)
    """The categories, each of them a split of the task; `simple` is `simple_python`."""
    dots: bool = True
    """Whether functions keep the dots in their names; false makes them underscores, for servers that refuse dots."""
    limits: Limits = Limits(seconds=60.0, cpu_seconds=60)
    """Limits of the process that judges one conversation of several turns."""

    @field_validator("categories")
    @classmethod
    def _are_known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        found = tuple(_ALIASES.get(name, name) for name in names)
        for name in found:
            if name not in CATEGORIES:
                known = ", ".join(CATEGORIES)
                raise ValueError(f"there is no category {name!r}{did_you_mean(name, CATEGORIES)}; known: {known}")
        if len(set(found)) < len(found):
            raise ValueError(f"a category occurs twice in {', '.join(found)}")
        return found

    @property
    def task_splits(self) -> Sequence[str]:
        """The task's splits."""
        return (TRAIN, *self.categories)


class BfclToolsOptions(OptionModel):
    """BFCL's simulated services."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    workers: int = Field(default=2, gt=0)
    """Calls that run concurrently."""
    limits: Limits = Limits()
    """Limits of one call."""
