"""Options of the teacher `local`."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from mentor_kit.core.component import BackendSpec, ComponentSpec, SamplerSpec
from mentor_kit.core.frozen_model import Json
from mentor_kit.hooks import BuildContext
from mentor_kit.hooks.references import model_fault
from mentor_kit_teachers.collection import CollectionOptions


class LocalOptions(CollectionOptions):
    """Options of the teacher `local`: a model on any backend."""

    model: str = Field(min_length=1)
    """A registered student's name, a folder in transformers' format (relative to the recipe's), or a hub id."""
    revision: str | None = None
    """A revision on the hub."""
    chat_template: str | None = None
    """A chat template in place of the tokenizer's own: a name, a file, or the template itself."""
    template_variables: dict[str, Json] = {}
    """Variables of the chat template, such as `enable_thinking: false`."""
    backend: BackendSpec = ComponentSpec(use="torch")
    """The backend that runs the model."""
    sampler: SamplerSpec | None = None
    """Samples the model's turns, such as by servers; the backend's own engine if left out."""
    temperature: float = Field(default=0.7, ge=0)
    """0 is greedy, and then all attempts are the same."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Keep the most likely tokens up to this probability."""
    top_k: int = Field(default=0, ge=0)
    """Keep this number of the most likely tokens; 0 keeps all."""


def look_at_local(options: LocalOptions, context: BuildContext) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Whether the model is there, if it is a folder."""
    if fault := model_fault(options.model, context.recipe_folder, context.registry):
        yield ("model",), fault
