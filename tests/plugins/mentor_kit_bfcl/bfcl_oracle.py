"""bfcl-eval's own runner, with what it asks of other packages stubbed, on raw text that is decoded here."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from functools import lru_cache
from importlib import import_module
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from mentor_kit.core.conversation import ToolCall

_STUBS: dict[str, dict[str, Any]] = {
    "bfcl_eval.constants.model_config": {
        "MODEL_CONFIG_MAPPING": {"any": SimpleNamespace(underscore_to_dot=False)},
    },
    "bfcl_eval.eval_checker.eval_runner_helper": {},
    "bfcl_eval.model_handler.base_handler": {"BaseHandler": object},
    "bfcl_eval.model_handler.utils": {"parse_prompt_variation_params": None},
    "dotenv": {"load_dotenv": None},
}


@lru_cache(1)
def runner(folder: str) -> Any:
    """`bfcl_eval.eval_checker.eval_runner`; it makes its folders below `folder`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BFCL_PROJECT_ROOT", folder)
        for name, values in _STUBS.items():
            module = ModuleType(name)
            vars(module).update(values)
            patch.setitem(sys.modules, name, module)
        # its own copy of the checker, which knows the stub's one model
        patch.delitem(sys.modules, "bfcl_eval.eval_checker.ast_eval.ast_checker", raising=False)
        return import_module("bfcl_eval.eval_checker.eval_runner")


def entries(folder: str, category: str) -> dict[str, Any]:
    """The category's rows by id, loaded by bfcl-eval itself."""
    utils = runner(folder) and import_module("bfcl_eval.utils")
    return {row["id"]: row for row in utils.load_dataset_entry(category, include_language_specific_hint=False)}


def gold(folder: str, category: str) -> dict[str, Any]:
    """The category's gold answers by id."""
    utils = runner(folder) and import_module("bfcl_eval.utils")
    return {row["id"]: row["ground_truth"] for row in utils.load_ground_truth_entry(category)}


class Handler:
    """Decodes Hermes-style text strictly; text without calls, or with a broken one, cannot be decoded."""

    def decode_ast(self, result: str, language: Any, has_tool_call_tag: bool) -> list[dict[str, Any]]:
        found = [json.loads(text) for text in re.findall(r"<tool_call>(.*?)</tool_call>", result, flags=re.DOTALL)]
        if not found:
            raise ValueError("no calls")
        return [{call["name"]: call["arguments"]} for call in found]


def text(calls: Sequence[ToolCall]) -> str:
    """Calls as a model writes them."""
    said = [json.dumps({"name": call.name, "arguments": call.arguments}) for call in calls]
    return "".join(f"<tool_call>{one}</tool_call>" for one in said) or "I cannot do that."


class Oracle:
    """Verdicts of bfcl-eval's own runner on one category."""

    def __init__(self, folder: str, category: str) -> None:
        self._runner = runner(folder)
        self._category = category
        self._entries = entries(folder, category)
        self._gold = {} if "relevance" in category else gold(folder, category)

    def __call__(self, id: str, raw: str) -> bool:
        language, form = self._runner.Language.PYTHON, self._runner.ReturnFormat.PYTHON
        entry = self._entries[id]
        if "relevance" in self._category:
            found = self._runner._evaluate_single_relevance_entry(Handler(), id, raw, entry, "any", self._category)
        else:
            found = self._runner._evaluate_single_ast_entry(
                Handler(), id, raw, self._gold[id], entry, "any", self._category, language, form
            )
        return bool(found["valid"])
