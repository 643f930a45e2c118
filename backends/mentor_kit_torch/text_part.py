"""Which parts of a model serve text, where it takes pictures and sound too.

Students read and write text: no gradient reaches the other parts. They are loaded and left as they are, neither
trained nor adapted, and leave with the student.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

logger = logging.getLogger("mentor_kit_torch")

#: Types of models, and names of their layers, that peft knows to be taken by kernels.
STATE_SPACE = frozenset({"falcon_h1", "mamba", "mamba2", "falcon_mamba", "nemotron_h"})
BESIDE_KERNELS = frozenset({"out_proj", "conv1d"})


def made_of(config: Any, make: Callable[[Any, Any], Any]) -> Any:
    """A model of this configuration: of the class that transformers has for causal language models, or for pictures.

    Where a package is missing that other parts than the text's need (timm for Gemma 3n), the text's part alone.

    Args:
        config: of the model.
        make: given transformers' class and a configuration, makes the model.

    Raises:
        ImportError: a package is missing, and the text's part is no model of its own.
    """
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoModelForCausalLM, AutoModelForImageTextToText

    whole = AutoModelForCausalLM if type(config) in MODEL_FOR_CAUSAL_LM_MAPPING else AutoModelForImageTextToText
    try:
        return make(whole, config)
    except ImportError as error:
        text = config.get_text_config()
        if text is config or type(text) not in MODEL_FOR_CAUSAL_LM_MAPPING:
            raise
        reason = str(error).strip().partition("\n")[0]
        logger.warning("%s: its part for text alone is loaded: %s", config.model_type, reason)
        return make(AutoModelForCausalLM, text)


def beside_text(model: Any) -> list[str]:
    """The names of a model's outermost modules without a parameter that serves text; none in a model of text.

    Args:
        model: of transformers.
    """
    config = model.config
    if config.get_text_config() is config or not hasattr(model, "get_decoder"):
        return []
    serving = (model.get_decoder(), model.get_input_embeddings(), model.get_output_embeddings())
    inside = {id(parameter) for module in serving if module is not None for parameter in module.parameters()}
    found: list[str] = []
    for name, module in model.named_modules():
        own = {id(parameter) for parameter in module.parameters()}
        if own and not own & inside and not any(name.startswith(f"{outer}.") for outer in found):
            found.append(name)
    return found


def freeze_beside_text(model: Any) -> None:
    """Have no parameter trained that does not serve text."""
    for name in beside_text(model):
        model.get_submodule(name).requires_grad_(False)


def unfit_for_adapters(model: Any) -> list[str]:
    """The names of linear layers that peft would adapt wrongly, or refuses to.

    They are a model's own kind of linear layer, such as Llama 4's routers, which return more than one array; and those
    whose weights the kernels of state space models take without the layer.
    """
    from torch import nn

    return [
        name
        for name, module in model.named_modules()
        if (isinstance(module, nn.Linear) and type(module).__module__.startswith("transformers.models."))
        or (model.config.model_type in STATE_SPACE and name.rpartition(".")[2] in BESIDE_KERNELS)
    ]
