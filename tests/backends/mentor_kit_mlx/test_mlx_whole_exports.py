"""What a run leaves at its end: of every kind of model a student that can be loaded again."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import transformers
from hybrid_students import INSIDE, KINDS, write
from mlx_students import load
from torch_students import SHAPE, write_student

from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.backend.policy import Policy
from mentor_kit.backend.student import AdapterSpec
from mentor_kit.core.errors import BackendError
from mentor_kit.testing.material import flat, ragged_groups
from mentor_kit.testing.objectives import make_objective

#: An adapter that is merged rounds its sums otherwise.
TOLERANCE = 1e-4


#: Models whose layers have other names in transformers than in mlx-lm.
OTHER_NAMES = {"qwen3-next", "qwen3.5", "granite4", "gemma4-inside", "gemma3", "mistral3"}


def trained(folder: Path, adapter: AdapterSpec | None = None) -> Policy:
    policy = load(folder, adapter)
    policy.prepare(OptimizerSpec(eps=1e-3))
    policy.forward_backward(ragged_groups(100), make_objective("rloo"))
    policy.optimizer_step(1e-2)
    return policy


@pytest.mark.spread(11)
@pytest.mark.parametrize("adapted", [False, True], ids=["full", "adapter"])
@pytest.mark.parametrize("name", list(KINDS))
def test_every_student_can_be_left_whole(
    name: str, adapted: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(name, tmp_path / "student")
    with caplog.at_level(logging.WARNING, "mentor_kit_mlx"):
        policy = trained(tmp_path / "student", AdapterSpec(rank=4) if adapted else None)
    warned = any("another form than transformers" in record.message for record in caplog.records)
    assert warned == (policy.whole_format is not None)
    policy.export(tmp_path / "whole", format=policy.whole_format or "transformers")
    found = load(tmp_path / "whole").log_probs(ragged_groups(100))
    np.testing.assert_allclose(flat(found), flat(policy.log_probs(ragged_groups(100))), atol=TOLERANCE)
    if policy.whole_format is None:
        config = json.loads((tmp_path / "whole" / "config.json").read_text())
        assert transformers.AutoConfig.for_model(config["model_type"]) is not None
    else:
        with pytest.raises(BackendError, match="another form"):
            policy.export(tmp_path / "theirs", format="transformers")


def test_a_plain_decoder_is_left_for_transformers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_student(tmp_path, transformers.LlamaConfig(**SHAPE))
    with caplog.at_level(logging.WARNING, "mentor_kit_mlx"):
        assert load(folder).whole_format is None
    assert not caplog.records


@pytest.mark.parametrize("name", list(KINDS))
def test_an_adapter_for_peft_is_on_layers_that_peft_finds(name: str, tmp_path: Path) -> None:
    twin = write(name, tmp_path / "student")
    policy = trained(tmp_path / "student", AdapterSpec(rank=4))
    inside = "model.language_model." if name in INSIDE else "model."
    theirs = {module.replace("model.", inside, 1) for module, _ in twin.model.named_modules()}
    if name in OTHER_NAMES:
        with pytest.raises(BackendError, match="other names") as error:
            policy.export(tmp_path / "adapter", format="adapter")
        assert "mlx-adapter" in str(error.value.hint)
        return policy.export(tmp_path / "own", format="mlx-adapter")
    policy.export(tmp_path / "adapter", format="adapter")
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    # mlx-lm has projections in layers that share another's keys, which nothing reads
    assert {layer for layer in config["target_modules"] if not layer.endswith(("k_proj", "v_proj"))} <= theirs
    assert set(config["target_modules"]) & theirs
