"""Which parts of a model serve text, where it takes pictures and sound too.

Students read and write text: no gradient reaches the other parts. They are not loaded, and an export has their weights
as they are in the student's folder (`mentor_kit_torch.other_weights`):

    class of transformers ──made without towers, projectors──> model.language_model…, lm_head ──> names as in the whole

Where transformers has a class of language models for the type that is one of text alone (Qwen3.5, Llama 4), that is
loaded and written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from mentor_kit.backend.peft_limits import peft_limit


class LeftOut(nn.Module):
    """In place of a part that is not made.

    Gemma 3n asks those for pictures and sound in all tokens, where their own begin and for the embeddings of these.
    """

    vocab_offset, vocab_size = 1 << 40, 0

    def forward(self, *arguments: Any, **more: Any) -> Tensor:
        return torch.zeros(())


def made_of(config: Any, make: Callable[[Any], Any]) -> Any:
    """A model of this configuration: of the class that transformers has for causal language models, or for pictures.

    Parts beside text are made only of a model whose folder is quantized, as they leave in plain weights.

    Args:
        config: of the model.
        make: given one of transformers' auto classes, makes the model.
    """
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoModelForCausalLM, AutoModelForImageTextToText

    auto: Any = AutoModelForCausalLM if type(config) in MODEL_FOR_CAUSAL_LM_MAPPING else AutoModelForImageTextToText
    mapping: Any = auto._model_mapping
    quantized = getattr(config, "quantization_config", None) is not None
    if quantized or config.get_text_config() is config or type(config) not in mapping:
        return make(auto)
    found: Any = mapping[type(config)]
    if isinstance(found, tuple) or found.config_class is not type(config):
        return make(auto)
    with _text_alone(found):
        return make(auto)


@contextmanager
def _text_alone(kind: Any) -> Iterator[None]:
    """Have transformers make models of a class without their parts beside text.

    They have no weights then that it could load. A part whose package is missing (timm, for Gemma 3n) is not missed.
    """
    from transformers import AutoModel

    prepare, finish = kind.__init__, kind.post_init
    made: Any = AutoModel.from_config

    @wraps(prepare)
    def init(self: Any, config: Any, *arguments: Any, **more: Any) -> None:
        parts = (getattr(config, name, None) for name in config.sub_configs if name != "text_config")
        others = {part.model_type for part in parts if part is not None}

        def part(config: Any, **more: Any) -> Any:
            return LeftOut() if config.model_type in others else made(config, **more)

        with patch.object(AutoModel, "from_config", part):
            prepare(self, config, *arguments, **more)

    def post_init(self: Any) -> None:
        for name in beside_text(self):
            self.set_submodule(name, LeftOut())
        finish(self)

    with patch.object(kind, "__init__", init), patch.object(kind, "post_init", post_init):
        yield


def beside_text(model: Any) -> dict[str, nn.Module]:
    """A model's outermost modules without a parameter that serves text, by name; none in a model of text.

    Args:
        model: of transformers.
    """
    config = model.config
    if config.get_text_config() is config or not hasattr(model, "get_decoder"):
        return {}
    serving = (model.get_decoder(), model.get_input_embeddings(), model.get_output_embeddings())
    inside = {id(parameter) for module in serving if module is not None for parameter in module.parameters()}
    found: dict[str, nn.Module] = {}
    for name, module in model.named_modules():
        own = {id(parameter) for parameter in module.parameters()}
        other = isinstance(module, LeftOut) or (own and not own & inside)
        if other and not any(name.startswith(f"{outer}.") for outer in found):
            found[name] = module
    return found


def freeze_beside_text(model: Any) -> None:
    """Have no parameter trained that does not serve text."""
    for module in beside_text(model).values():
        module.requires_grad_(False)


def unfit_for_adapters(model: Any) -> list[str]:
    """The names of linear layers that peft would adapt wrongly, or refuses to.

    They are a model's own kind of linear layer, such as Llama 4's routers, which return more than one array; and those
    whose weights transformers or a kernel reads without the layer.
    """
    kind = model.config.get_text_config().model_type
    return [
        name
        for name, module in model.named_modules()
        if (isinstance(module, nn.Linear) and type(module).__module__.startswith("transformers.models."))
        or peft_limit(kind, name) is not None
    ]
