"""The format `mentor`: lines of demonstrations.jsonl, of recorded rollouts, and of evaluated episodes.

    {"problem_id", "teacher", "tools_used", "correct", "trajectory", "provenance"}     a demonstration
    {"trajectory", "reward", "advantage"}                                              a rollout, an evaluated episode
    {"id", "problem_id", "agent", "messages", "ending", …}                             a trajectory alone

A run's own lines have no tools: those are in its recipe. Written ones have tools, group, answer and right calls in
`provenance.row`, so that nothing is lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from mentor_kit.core.conversation import CallState, Message, ToolCall, ToolResult
from mentor_kit.core.data_format import DataFormat, DataFormatError, Dialogue, as_data
from mentor_kit.core.demonstration import Demonstration
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.tool import Tool
from mentor_kit.core.toolbox import check_call
from mentor_kit.core.trajectory import Ending, Trajectory
from mentor_kit_data.formats.dialogues import beside
from mentor_kit_data.formats.schemas import declared_tools
from mentor_kit_data.formats.values import record
from mentor_kit_data.formats.writing import NULLS, NUMBERS, check_dialogue, fingerprint, own_columns, schemas

#: The teacher of demonstrations that are made of other data.
TEACHER = "data"
#: Where in `provenance` stands what a demonstration has no field for.
_ROW = "row"


class MentorFormat(DataFormat):
    """This package's own records of dialogues."""

    limits = (
        NUMBERS,
        NULLS,
        "a missing id (one is made of the messages)",
        "a missing verdict (the answer counts as right)",
    )

    def recognizes(self, row: Mapping[str, Any]) -> bool:
        if isinstance(row.get("trajectory"), Mapping):
            return "messages" in row["trajectory"]
        return {"problem_id", "teacher", "tools_used"} <= row.keys() or {"problem_id", "agent", "ending"} <= row.keys()

    def read(self, row: Mapping[str, Any]) -> Dialogue:
        given = row.get("trajectory", row if "messages" in row else None)
        if given is None:
            raise DataFormatError("trajectory", "there is no dialogue, only the names of tools")
        try:
            trajectory = Trajectory.model_validate(given)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(str(step) for step in ("trajectory", *first["loc"]))
            raise DataFormatError(place, str(first["msg"])) from None
        provenance = record(row.get("provenance") or {}, "provenance")
        more = record(provenance.get(_ROW) or {}, f"provenance.{_ROW}")
        correct = row.get("correct") is not False if "teacher" in row else trajectory.correct
        found = beside({**more, "id": trajectory.problem_id, "correct": correct})
        tools = declared_tools(more.get("tools"), f"provenance.{_ROW}.tools")
        return Dialogue(messages=tuple(map(as_data, trajectory.messages)), tools=tools, **found)

    def write(self, dialogue: Dialogue) -> dict[str, Json]:
        check_dialogue(dialogue, unreadable=True)
        name = dialogue.id or fingerprint(dialogue)
        messages = _played(dialogue)
        last = messages[-1] if messages else None
        answered = last is not None and last.role == "assistant" and not last.tool_calls
        trajectory = Trajectory(
            id=name,
            problem_id=name,
            agent=TEACHER,
            messages=messages,
            opening=max((index for index, said in enumerate(messages, start=1) if said.role == "user"), default=0),
            ending=Ending.ANSWERED if answered else Ending.MAX_TURNS,
            correct=dialogue.correct is not False,
        )
        shown = Demonstration.of(trajectory, teacher=TEACHER, provenance=_provenance(dialogue))
        return shown.model_dump(mode="json", exclude_defaults=True)


def _provenance(dialogue: Dialogue) -> dict[str, Json]:
    """What a demonstration has no field for."""
    tools: dict[str, Json] = {"tools": schemas(dialogue.tools)} if dialogue.tools else {}
    more = tools | {name: value for name, value in own_columns(dialogue).items() if name not in ("id", "correct")}
    return {_ROW: more} if more else {}


def _played(dialogue: Dialogue) -> tuple[Message, ...]:
    """The messages with their calls' states: checked by the tools' schemas, and executed where a result follows."""
    tools = {tool.name: Tool.declared(tool.name, tool.description, tool.parameters) for tool in dialogue.tools}
    found: list[Message] = []
    for index, message in enumerate(dialogue.messages):
        if not message.tool_calls:
            found.append(message)
            continue
        results = []
        for later in dialogue.messages[index + 1 :]:
            if later.role != "tool":
                break
            results.append(later.result)
        calls = []
        for call in message.tool_calls:
            result = next((one for one in results if one is not None and one.name == call.name), None)
            if result is not None:
                results.remove(result)
            calls.append(_after(check_call(call, tools) if tools else call.at(CallState.VALID), result))
        found.append(message.model_copy(update={"tool_calls": tuple(calls)}))
    return tuple(found)


def _after(call: ToolCall, result: ToolResult | None) -> ToolCall:
    """The call in the state that its result shows."""
    if call.state is not CallState.VALID or result is None:
        return call
    return call.at(CallState.EXECUTED) if result.ok else call.at(CallState.FAILED, result.content)
