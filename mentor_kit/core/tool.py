"""Tools: typed Python functions with a JSON schema.

    Tool          a name, a description, a JSON schema of its parameters, and (unless declared only) a function
    ToolSource    what a tools plugin builds: the tools of a problem, and sessions to run them in
    ToolSession   one episode's own state: opened with the problem and a seed, closed with the episode
    Toolbox       all sources of a recipe as one: checks calls against the schemas and opens sessions

A plain function is enough for most tools:

    def add(a: float, b: float) -> float:
        '''Add two numbers.

        ...
        '''
        return a + b

    Tool.from_function(add)
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

from mentor_kit.core.docstrings import annotated_description, read_docstring, split_choices
from mentor_kit.core.errors import PluginError
from mentor_kit.core.frozen_model import Json
from mentor_kit.core.tool_schema import argument_fault, parameter_takes, schema_fault, schema_of

#: What can be done about a tool whose parameters are no schema.
SCHEMA_HINT = "`parameters` is a JSON schema of type object, with no references to elsewhere"


class ToolError(Exception):
    """Raised by a tool when a call failed; the message is shown to the model as the result.

    Any other exception of a tool is a failed call too; this one is for failures the tool foresees.
    """


@dataclass(frozen=True)
class Tool:
    """A function with a JSON schema that an assistant can call by name.

    Attributes:
        name: letters, digits, `_`, `-` and `.`; what the model writes.
        description: what it does, for the model.
        parameters: a JSON schema of type `object`, of the dialect that its `$schema` names (draft 2020-12 if none).
        function: called with the arguments by name; may be `async`. None for a declared-only tool: its
            calls are checked and recorded, never run (function-calling evaluations need that).
        announced: whether the prompt has its schema; one that is not can be called all the same, once the dialogue
            has named it.
    """

    name: str
    description: str
    parameters: Mapping[str, Json]
    function: Callable[..., Any] | None = field(default=None, compare=False)
    announced: bool = True

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_.\-]{1,128}", self.name):
            raise PluginError(
                f"a tool cannot be called {self.name!r}",
                hint="use 1 to 128 letters, digits, '_', '-' or '.'",
            )

    @staticmethod
    def from_function(function: Callable[..., Any], *, name: str | None = None) -> Tool:
        """Return a tool made from a typed function: schema from its signature, descriptions from its docstring.

        The docstring's first paragraph describes the tool; its parameters are described in Google, NumPy or Sphinx
        style, or in the annotation, as `Annotated[str, "the city's name"]`. A description that ends with
        `(choices: ["a", "b"])` limits the values.

        Raises:
            PluginError: a parameter has no annotation, is positional-only or variadic, or has a type that
                JSON schema cannot express.
        """
        return Tool(
            name=name or function.__name__,
            description=read_docstring(inspect.getdoc(function) or "").summary,
            parameters=_parameters_schema(function),
            function=function,
        )

    @staticmethod
    def declared(name: str, description: str, parameters: Mapping[str, Json]) -> Tool:
        """Return a declared-only tool: a schema without a function."""
        return Tool(name=name, description=description, parameters=dict(parameters))

    @property
    def schema(self) -> dict[str, Json]:
        """Return the form that chat templates and OpenAI-compatible servers take."""
        return {
            "type": "function",
            "function": {"name": self.name, "description": self.description, "parameters": dict(self.parameters)},
        }

    @cached_property
    def fault(self) -> str:
        """Why `parameters` are not a valid JSON schema of a tool, in one line; empty if they are."""
        return schema_fault(self.parameters)

    def check(self, arguments: Mapping[str, Json]) -> str:
        """Return why `arguments` do not match the schema, in one line; empty if they do.

        Raises:
            PluginError: the schema itself is wrong.
        """
        if self.fault:
            raise PluginError(
                f"tool {self.name!r}: its parameters are not a JSON schema: {self.fault}", hint=SCHEMA_HINT
            )
        return argument_fault(self.parameters, arguments)

    def takes(self, parameter: str, value: Json) -> bool:
        """Whether the schema of a parameter allows a value; False if it is wrong, or says nothing of the parameter."""
        return not self.fault and parameter_takes(self.parameters, parameter, value)

    def parameter_schema(self, parameter: str) -> Mapping[str, Json] | bool | None:
        """What `parameters` says of one parameter; None if nothing."""
        return schema_of(self.parameters, parameter)


def announced(tools: Mapping[str, Tool]) -> dict[str, Tool]:
    """Return the tools whose schemas belong in the prompt."""
    return {name: tool for name, tool in tools.items() if tool.announced}


def _parameters_schema(function: Callable[..., Any]) -> dict[str, Json]:
    from pydantic import ConfigDict, Field, PydanticSchemaGenerationError, create_model
    from pydantic.errors import PydanticInvalidForJsonSchema, PydanticUserError

    name = getattr(function, "__name__", repr(function))
    described = read_docstring(inspect.getdoc(function) or "").parameters
    fields: dict[str, Any] = {}
    for index, parameter in enumerate(_signature(function, name).parameters.values()):
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise PluginError(
                f"tool {name}: parameter {parameter.name!r} cannot be passed by name",
                hint="tools are called with arguments by name: use plain parameters",
            )
        if parameter.annotation is parameter.empty:
            raise PluginError(
                f"tool {name}: parameter {parameter.name!r} has no type annotation",
                hint=f"annotate it, for example `{parameter.name}: float`",
            )
        default = ... if parameter.default is parameter.empty else parameter.default
        extra = _described(described.get(parameter.name) or annotated_description(parameter.annotation))
        # the parameter's name is an alias, so that one like `json` or `model_config` never meets pydantic's own
        fields[f"p{index}"] = (parameter.annotation, Field(default, alias=parameter.name, **extra))
    try:
        model = create_model(name, __config__=ConfigDict(extra="forbid", arbitrary_types_allowed=False), **fields)
        schema: dict[str, Json] = model.model_json_schema()
    except (PydanticSchemaGenerationError, PydanticInvalidForJsonSchema, PydanticUserError) as error:
        raise PluginError(
            f"tool {name}: a parameter's type has no JSON schema: {error}",
            hint="use str, int, float, bool, list, dict, Literal, enums or pydantic models",
        ) from error
    return cast("dict[str, Json]", _without_titles(schema))


def _described(description: str) -> dict[str, Any]:
    """Arguments of pydantic's `Field` for a parameter with this description."""
    description, choices = split_choices(description)
    found: dict[str, Any] = {"description": description} if description else {}
    return found if choices is None else found | {"json_schema_extra": {"enum": choices}}


def _signature(function: Callable[..., Any], name: str) -> inspect.Signature:
    try:
        return inspect.signature(function, eval_str=True)
    except (NameError, TypeError, ValueError) as error:
        raise PluginError(
            f"tool {name}: its signature cannot be read: {error}",
            hint="annotate with types that exist at run time, outside `if TYPE_CHECKING`; wrap builtins in a function",
        ) from error


#: Keywords of a schema that hold values, in which a title is data.
_VALUES = ("default", "const", "enum", "examples")


def _without_titles(schema: Json, *, names: bool = False) -> Json:
    """The schema without the titles pydantic derives from names; `names` guards a property called 'title'."""
    if isinstance(schema, dict):
        kept = {k: v for k, v in schema.items() if names or k != "title" or not isinstance(v, str)}
        return {
            k: v if k in _VALUES and not names else _without_titles(v, names=not names and k in ("properties", "$defs"))
            for k, v in kept.items()
        }
    return [_without_titles(item) for item in schema] if isinstance(schema, list) else schema
