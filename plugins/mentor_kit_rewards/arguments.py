"""The term `tool-arguments`: compares calls with the teacher's, arguments included.

    agreement(A, B) = 2 · max_matching Σ_(a, b) alike(a, b) / (|A| + |B|)

A and B are the executed calls of student and teacher. Each call is matched with at most one of the other's, and only
calls of the same tool are alike: by the F1 of their arguments, compared by name and canonical value. An argument that
both have at its schema's default is left out.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import ConfigDict

from mentor_kit.core.conversation import ToolCall
from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.errors import DataError
from mentor_kit.core.task import Problem
from mentor_kit.core.tool import Tool
from mentor_kit.core.toolbox import Toolbox
from mentor_kit.core.trajectory import Trajectory
from mentor_kit.rl.reward import Term
from mentor_kit_rewards.comparison import ToolUseOptions, reference_demonstrations
from mentor_kit_rewards.values import canonical, without_idle_repeats

#: Canonical values by the argument's name.
Arguments = Mapping[str, Hashable]


class ToolArgumentsOptions(ToolUseOptions):
    """How calls are compared."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    compare: Literal["values", "names"] = "values"
    """values: an argument is the same if its name and its value are; names: if its name is."""
    partial: bool = True
    """Whether calls with some arguments in common are partly alike; if not, all must be the same."""


@dataclass(frozen=True)
class ToolArguments(Term):
    """How well the executed calls agree with a demonstration's; the best of several counts.

    An argument that is left out counts as given with its schema's default; what both have at the default, given or
    left out, does not count at all. Demonstrations with the names of tools alone cannot be compared, and
    are skipped.
    """

    options: ToolArgumentsOptions
    toolbox: Toolbox | None = None
    """For the defaults; without it none are filled in."""

    def score(self, trajectory: Trajectory, problem: Problem, demonstrations: Sequence[Demonstration]) -> float:
        """The best agreement with a demonstration.

        Raises:
            DataError: there is no demonstration of the problem, or none has its calls.
        """
        shown = [demonstration for demonstration in demonstrations if _comparable(demonstration)]
        if demonstrations and not shown:
            raise DataError(
                f"the reward compares arguments, and no demonstration of problem {problem.id!r} has its calls",
                hint="the recording keeps names of tools alone: take `tool-multiset-f1` or `tool-order`, or a teacher "
                "that plays the problem",
            )
        tools = {} if self.toolbox is None else self.toolbox.tools(problem)
        return max(self._against(trajectory, one, tools) for one in reference_demonstrations(problem, shown))

    def _against(self, trajectory: Trajectory, demonstration: Demonstration, tools: Mapping[str, Tool]) -> float:
        used = trajectory.executed
        shown = demonstration.trajectory.executed if demonstration.trajectory is not None else ()
        if not shown:
            return float(not used)
        excess = self.options.excess
        if excess is not None and len(used) > excess.limit(demonstration):
            return 0.0
        left, right = (_by_tool(calls) for calls in (without_idle_repeats(used, shown), shown))
        common = math.fsum(
            self._matched(left[name], right[name], _defaults(tools.get(name))) for name in left.keys() & right.keys()
        )
        return min(1.0, 2 * common / (len(used) + len(shown)))

    def _matched(self, left: Sequence[Arguments], right: Sequence[Arguments], defaults: Arguments) -> float:
        return best_matching([[self._alike(a, b, defaults) for b in right] for a in left])

    def _alike(self, left: Arguments, right: Arguments, defaults: Arguments) -> float:
        if self.options.compare == "values":
            left, right = {**defaults, **left}, {**defaults, **right}
        idle = {
            name
            for name, default in defaults.items()
            if left.get(name, default) == default and right.get(name, default) == default
        }
        left, right = ({name: value for name, value in one.items() if name not in idle} for one in (left, right))
        if not left and not right:
            return 1.0
        same = sum(
            name in right and (self.options.compare == "names" or right[name] == value) for name, value in left.items()
        )
        alike = 2 * same / (len(left) + len(right))
        return alike if self.options.partial else float(alike == 1)


def best_matching(weights: Sequence[Sequence[float]]) -> float:
    """The largest sum of a matching between rows and columns, each used at most once.

    The Hungarian method with potentials (Kuhn 1955, Munkres 1957), O(n² m) for n <= m.

    Args:
        weights: [rows][columns], none negative, at least one of each.
    """
    rows = weights if len(weights) <= len(weights[0]) else [list(column) for column in zip(*weights, strict=True)]
    n, m = len(rows), len(rows[0])
    row_potential, column_potential = [0.0] * (n + 1), [0.0] * (m + 1)
    # owner[j]: the row that column j is matched with; row and column 0 stand for none
    owner = [0] * (m + 1)
    for row in range(1, n + 1):
        owner[0] = row
        column = 0
        shortest, came_from, used = [math.inf] * (m + 1), [0] * (m + 1), [False] * (m + 1)
        while owner[column]:
            used[column] = True
            current, step, following = owner[column], math.inf, 0
            for j in range(1, m + 1):
                if used[j]:
                    continue
                reduced = -rows[current - 1][j - 1] - row_potential[current] - column_potential[j]
                if reduced < shortest[j]:
                    shortest[j], came_from[j] = reduced, column
                if shortest[j] < step:
                    step, following = shortest[j], j
            for j in range(m + 1):
                if used[j]:
                    row_potential[owner[j]] += step
                    column_potential[j] -= step
                else:
                    shortest[j] -= step
            column = following
        while column:
            owner[column] = owner[came_from[column]]
            column = came_from[column]
    return math.fsum(rows[owner[j] - 1][j - 1] for j in range(1, m + 1) if owner[j])


def _comparable(demonstration: Demonstration) -> bool:
    return demonstration.trajectory is not None or not demonstration.tools_used


def _by_tool(calls: Sequence[ToolCall]) -> defaultdict[str, list[Arguments]]:
    found: defaultdict[str, list[Arguments]] = defaultdict(list)
    for call in calls:
        found[call.name].append({name: canonical(value) for name, value in call.arguments.items()})
    return found


def _defaults(tool: Tool | None) -> Arguments:
    """Return an argument's default: its schema's, or the only value that the schema allows."""
    properties = tool.parameters.get("properties") if tool is not None else None
    if not isinstance(properties, Mapping):
        return {}
    found = {}
    for name, schema in properties.items():
        only = schema.get("enum") if isinstance(schema, Mapping) else None
        if isinstance(schema, Mapping) and "default" in schema:
            found[name] = canonical(schema["default"])
        elif isinstance(schema, Mapping) and "const" in schema:
            found[name] = canonical(schema["const"])
        elif isinstance(only, list) and len(only) == 1:
            found[name] = canonical(only[0])
    return found
