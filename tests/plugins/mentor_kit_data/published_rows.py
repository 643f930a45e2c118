"""Ten rows of each published format of tool-use data, written to its published shape, with what they say.

The shapes are those of TRL's and LLaMA-Factory's documentation and of the data sets' cards: xLAM-60k, ToolACE, Hermes
function-calling, Toucan-1.5M and When2Call. Every format says the same ten things: sums of two numbers, where every
third one takes two calls at once, the last one none, and row 4 has a first question and its answer before it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

Row = dict[str, Any]


class Sum(NamedTuple):
    """What one row says."""

    number: int
    calls: list[dict[str, Any]]
    """The right calls, `{"name", "arguments"}`."""
    results: list[str]
    question: str
    answer: str
    before: list[tuple[str, str]]
    """The question and answer before it, where there are any."""


def _sum(number: int) -> Sum:
    calls = [{"name": "add", "arguments": {"a": number, "b": 2}}]
    if number % 3 == 2:
        calls.append({"name": "multiply", "arguments": {"a": number, "b": 2}})
    if number == 9:
        calls = []
    results = [str(number + 2), str(number * 2)][: len(calls)]
    question = f"What is {number} plus 2?" if calls else "Who are you?"
    before = [("Hello, number 4.", "Hello! What shall I add?")] if number == 4 else []
    return Sum(number, calls, results, question, f"It is {' and '.join(results)}." if calls else "An adder.", before)


SUMS = [_sum(number) for number in range(10)]


def schema(name: str) -> dict[str, Any]:
    properties = {"a": {"type": "number", "description": "the first number"}, "b": {"type": "number"}}
    return {
        "name": name,
        "description": f"{name.capitalize()} two numbers.",
        "parameters": {"type": "object", "properties": properties, "required": ["a", "b"]},
    }


TOOLS = [{"type": "function", "function": schema(name)} for name in ("add", "multiply")]


def _messages(one: Sum, arguments: Callable[[Any], Any]) -> list[Row]:
    found: list[Row] = [{"role": "system", "content": "Answer briefly."}]
    for question, answer in one.before:
        found += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    found.append({"role": "user", "content": one.question})
    if one.calls:
        made = [
            {"id": f"call_{i}", "type": "function", "function": {**call, "arguments": arguments(call["arguments"])}}
            for i, call in enumerate(one.calls)
        ]
        found.append({"role": "assistant", "content": "", "tool_calls": made})
        found += [
            {"role": "tool", "tool_call_id": f"call_{i}", "name": one.calls[i]["name"], "content": result}
            for i, result in enumerate(one.results)
        ]
    return [*found, {"role": "assistant", "content": one.answer}]


def trl(one: Sum) -> Row:
    return {"messages": _messages(one, lambda arguments: arguments), "tools": TOOLS}


def openai(one: Sum) -> Row:
    return {"messages": _messages(one, json.dumps), "tools": TOOLS}


def sharegpt(one: Sum) -> Row:
    turns = []
    for question, answer in one.before:
        turns += [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
    turns.append({"from": "human", "value": one.question})
    if one.calls:
        calls = one.calls[0] if len(one.calls) == 1 else one.calls
        results = one.results[0] if len(one.results) == 1 else json.dumps([json.loads(r) for r in one.results])
        turns += [{"from": "function_call", "value": json.dumps(calls)}, {"from": "observation", "value": results}]
    turns.append({"from": "gpt", "value": one.answer})
    return {"conversations": turns, "tools": json.dumps([tool["function"] for tool in TOOLS]), "system": "Be brief."}


def xlam(one: Sum) -> Row:
    bare = {"a": {"description": "the first number", "type": "float"}, "b": {"description": "", "type": "float"}}
    tools = [{"name": n, "description": f"{n} two numbers", "parameters": bare} for n in ("add", "multiply")]
    extra = {"description": "how many digits", "type": "int, optional", "default": 2}
    tools[0]["parameters"] = {**bare, "digits": extra}
    return {
        "id": one.number,
        "query": one.question,
        "answers": json.dumps(one.calls),
        "tools": json.dumps(tools),
    }


def toolace(one: Sum) -> Row:
    tools = [{**schema(name), "name": f"{name.capitalize()} Numbers", "required": None} for name in ("add", "multiply")]
    for tool in tools:
        tool["parameters"] = {**tool["parameters"], "type": "dict"}
    system = (
        "You are an expert in composing functions. Here is a list of functions in JSON format that you can invoke:\n"
        f"{json.dumps(tools)}. \nShould you decide to return the function call(s). Put it in the format of "
        "[func1(params_name=params_value, params_name2=params_value2...), func2(params)]\n"
    )
    turns = []
    for question, answer in one.before:
        turns += [{"from": "user", "value": question}, {"from": "assistant", "value": answer}]
    turns.append({"from": "user", "value": one.question})
    if one.calls:
        names = [f"{call['name'].capitalize()} Numbers" for call in one.calls]
        written = ", ".join(
            f"{name}({', '.join(f'{key}={value}' for key, value in call['arguments'].items())})"
            for name, call in zip(names, one.calls, strict=True)
        )
        results = [{"name": n, "results": {"value": r}} for n, r in zip(names, one.results, strict=True)]
        turns += [{"from": "assistant", "value": f"[{written}]"}, {"from": "tool", "value": json.dumps(results)}]
    turns.append({"from": "assistant", "value": one.answer})
    return {"system": system, "conversations": turns}


def hermes(one: Sum) -> Row:
    system = (
        "You are a function calling AI model. You are provided with function signatures within <tools> </tools> XML "
        f"tags. You may call one or more functions.\n<tools>\n{json.dumps(TOOLS)}\n</tools>\nFor each function call "
        "return a JSON object within <tool_call> </tool_call> tags with the following schema:\n<tool_call>\n"
        "{'arguments': <args-dict>, 'name': <function-name>}\n</tool_call>\n"
    )
    turns = [{"from": "system", "value": system}]
    for question, answer in one.before:
        turns += [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
    turns.append({"from": "human", "value": one.question})
    if one.calls:
        # as a Python dictionary, which much of that set has
        calls = [f"<tool_call>\n{ {'arguments': c['arguments'], 'name': c['name']} }\n</tool_call>" for c in one.calls]
        results = [
            f"<tool_response>\n{json.dumps({'name': call['name'], 'content': {'value': result}})}\n</tool_response>"
            for call, result in zip(one.calls, one.results, strict=True)
        ]
        turns += [{"from": "gpt", "value": "\n".join(calls)}, {"from": "tool", "value": "\n".join(results)}]
    turns.append({"from": "gpt", "value": one.answer})
    return {
        "id": f"00{one.number}-abc",
        "conversations": turns,
        "tools": json.dumps(TOOLS),
        "category": "Arithmetic",
        "subcategory": "Sums",
        "task": "Adding",
    }


def toucan(one: Sum) -> Row:
    declared = f"<|im_system|>tool_declare<|im_middle|>{json.dumps(TOOLS)}<|im_end|>"
    messages: list[Row] = [{"role": "system", "content": declared}]
    for question, answer in one.before:
        messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    messages.append({"role": "user", "content": one.question})
    for call in one.calls:
        made = {"name": call["name"], "arguments": json.dumps(call["arguments"])}
        messages.append({"role": "assistant", "content": "", "function_call": made})
    for call, result in zip(one.calls, one.results, strict=True):
        messages.append({"role": "function", "name": call["name"], "content": result})
    messages.append({"role": "assistant", "content": one.answer})
    return {
        "uuid": f"ac0907b0-{one.number}",
        "subset_name": "single-turn-original",
        "messages": json.dumps(messages),
        "question": one.question,
        "available_tools": json.dumps(TOOLS),
        "target_tools": ", ".join(call["name"] for call in one.calls),
        "question_quality_assessment": "{}",
        "response_quality_assessment": "{}",
        "metadata": "{}",
    }


def when2call(one: Sum) -> Row:
    words = f"<TOOLCALL>{json.dumps(one.calls)}</TOOLCALL>" if one.calls else one.answer
    messages = []
    for question, answer in one.before:
        messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    messages += [{"role": "user", "content": one.question}, {"role": "assistant", "content": words}]
    return {"tools": [json.dumps(tool["function"]) for tool in TOOLS], "messages": messages}


MAKERS: dict[str, Callable[[Sum], Row]] = {
    "trl": trl,
    "openai": openai,
    "sharegpt": sharegpt,
    "xlam": xlam,
    "toolace": toolace,
    "hermes": hermes,
    "toucan": toucan,
    "when2call": when2call,
}

#: What the formats cannot express: dialogues before the question, results and the final answer.
ONE_QUESTION = {"xlam"}
NO_RESULTS = {"xlam", "when2call"}


def rows(name: str) -> list[Row]:
    """Ten rows of a format."""
    return [MAKERS[name](one) for one in SUMS]
