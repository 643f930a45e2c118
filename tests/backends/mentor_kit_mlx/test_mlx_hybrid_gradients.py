"""Gradients of models with other state than keys and values: of torch, whether prompts are shared or layers recomputed.

No machine here has Metal: kernels without a gradient stand in for its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
import torch
import torch_students
from hybrid_students import KINDS, Twin, as_mlx_lm_has_it, own_name, write
from mentor_kit_mlx import differentiable
from mentor_kit_mlx.adapters import dropouts
from mentor_kit_mlx.mlx_lm_import import mlx_lm
from mlx_students import load, memory_taken, weights
from test_mlx_gradients import distance, gradients

from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.backend.student import AdapterSpec
from mentor_kit.backend.token_groups import TokenCompletion, TokenGroup
from mentor_kit.core.errors import BackendError
from mentor_kit.testing.material import drive, flat, group_of, ragged_groups, request
from mentor_kit.testing.objectives import make_objective

OBJECTIVE = make_objective(preset="rloo")


@pytest.fixture(scope="module", params=list(KINDS))
def student(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Twin]:
    folder = tmp_path_factory.mktemp(request.param)
    return request.param, folder, write(request.param, folder)


@pytest.mark.spread(4)
def test_shared_prompts_and_recomputed_layers_have_the_gradient_of_whole_sequences(
    student: tuple[str, Path, Twin], caplog: pytest.LogCaptureFixture
) -> None:
    name, folder, _ = student
    policy = load(folder, gradient_checkpointing=True)
    policy.prepare(OptimizerSpec())
    assert policy.recomputes
    # mamba's convolution knows nothing of padding, and a line says what that costs
    assert policy._shares == (name != "mamba")
    assert any("updates run a prompt again" in message for message in caplog.messages) != policy._shares
    groups = ragged_groups(100)
    apart = [TokenGroup(g.prompt_ids, (c,), g.temperature) for g in groups for c in g.completions]
    with policy._mode.on(drops=False):
        expected = gradients(policy, apart, OBJECTIVE, share=False, budget=1)
        plain = gradients(policy, groups, OBJECTIVE, share=policy._shares)
        with policy._recomputing.on():
            recomputed = gradients(policy, groups, OBJECTIVE, share=policy._shares)
    assert distance(plain, expected) < 1e-5
    assert distance(recomputed, plain) < 1e-6


@pytest.mark.spread(5)
def test_the_gradient_is_that_of_torch(student: tuple[str, Path, Twin]) -> None:
    name, folder, twin = student
    groups = [
        TokenGroup(
            np.arange(start, start + 9),
            tuple(
                TokenCompletion(ids, np.ones(len(ids), np.float32), -np.ones(len(ids), np.float32))
                for ids in (np.array([7, 8, start]), np.array([3, 1, 4, 1, 5]))
            ),
        )
        for start in (1, 20)
    ]
    policy = load(folder)
    with policy._mode.on(drops=False):
        found = gradients(policy, groups, make_objective(preset="sft"), budget=1000)
    twin.model.zero_grad()
    total = torch.zeros((), dtype=torch.float64)
    for group in groups:
        for completion in group.completions:
            ids = torch.tensor([[*group.prompt_ids.tolist(), *completion.ids.tolist()]])
            rows = twin.model(input_ids=ids, use_cache=False).logits[0].double().log_softmax(-1)
            places = torch.arange(len(group.prompt_ids) - 1, ids.shape[1] - 1)
            total = total - rows[places, ids[0, places + 1]].sum()
    (total / 16).backward()
    theirs = {
        own_name(key): as_mlx_lm_has_it(key, value.grad.double().numpy())
        for key, value in twin.model.named_parameters()
        if value.grad is not None
    }
    ours = {own_name(key): value for key, value in found.items()}
    both = sorted(key for key in ours.keys() & theirs.keys() if ours[key].shape == theirs[key].shape)
    # experts and combined projections have other forms in mlx-lm
    assert len(both) >= 0.75 * len(ours)
    ours_all, theirs_all = (np.concatenate([side[key].ravel() for key in both]) for side in (ours, theirs))
    tolerance = 1e-2 if name == "gemma3" else 1e-3  # mlx-lm rounds the scale of its embeddings
    assert np.linalg.norm(ours_all - theirs_all) <= tolerance * np.linalg.norm(theirs_all)


@pytest.mark.parametrize("name", ["lfm2", "qwen3.5"])
def test_three_steps_are_those_of_torch(name: str, tmp_path: Path) -> None:
    write(name, tmp_path)
    policy, torch_policy = load(tmp_path), torch_students.load(tmp_path)
    before = weights(policy)
    prompts, seen = [list(range(1, 10)), [10, 11, 12, 13]], []
    for one in (torch_policy, policy):
        one.prepare(OptimizerSpec())
    for step in range(3):
        asked = [request(f"{step}.{p}.{g}", prompts[p], max_new_tokens=6 + g) for p in range(2) for g in range(4)]
        done = drive(policy.engine(), asked)
        groups = [
            group_of(prompts[p], [done[f"{step}.{p}.{g}"] for g in range(4)], [1.0, -1.0, 0.5, -0.5]) for p in range(2)
        ]
        seen += groups
        for one in (torch_policy, policy):
            one.forward_backward(groups, make_objective(preset="grpo", kl=0.0))
            one.optimizer_step(3e-4)
    theirs = {
        own_name(key): as_mlx_lm_has_it(key, value.detach().numpy())
        for key, value in torch_policy.model.named_parameters()
    }
    ours, old = ({own_name(k): v for k, v in side.items()} for side in (weights(policy), before))
    # norms of Qwen3.5 are kept as one more than transformers' in mlx-lm
    shift = {key: np.round((old[key] - theirs[key]).mean()) for key in ours}
    update = np.concatenate([(theirs[key] + shift[key] - old[key]).ravel() for key in sorted(ours)])
    other = np.concatenate([(ours[key] - old[key]).ravel() for key in sorted(ours)])
    assert np.linalg.norm(other - update) <= 1e-3 * np.linalg.norm(update)
    np.testing.assert_allclose(flat(policy.log_probs(seen)), flat(torch_policy.log_probs(seen)), atol=5e-4)


class Metal:
    """MLX with a GPU of Metal, as far as mlx-lm asks for one."""

    metal = SimpleNamespace(is_available=lambda: True)

    def __getattr__(self, name: str) -> Any:
        return getattr(mx, name)

    def default_device(self) -> Any:
        return mx.gpu


def without_gradient(value: mx.array) -> mx.array:
    """The same values by an operation without a gradient, as mlx-lm's kernels are."""
    return value + 0 * mx.from_fp8(mx.to_fp8(value), dtype=value.dtype)


@contextmanager
def kernels(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Kernels of Metal for recurrences, which record that they were asked for."""
    asked: list[str] = []
    gated, ssm = mlx_lm("models.gated_delta"), mlx_lm("models.ssm")

    def gated_delta_kernel(*args: Any) -> Any:
        asked.append("gated delta")
        output, state = plain(*args)
        return without_gradient(output), state

    def ssm_update_kernel(*args: Any) -> Any:
        asked.append("ssm")
        output, state = ssm.ssm_attn(*args)
        return without_gradient(output), state

    plain = gated.gated_delta_ops
    with monkeypatch.context() as patched:
        for module in (gated, ssm):
            patched.setattr(module, "mx", Metal())
        # heads of these students are narrower than a kernel takes
        patched.setattr(gated, "gated_delta_update", gated.gated_delta_update)
        patched.setattr(gated, "gated_delta_kernel", gated_delta_kernel)
        patched.setattr(ssm, "ssm_update_kernel", ssm_update_kernel)
        yield asked


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student of Qwen3.5's kind with heads that the kernel takes."""
    import hybrid_students

    folder = tmp_path_factory.mktemp("wide")
    kind, shape = hybrid_students.KINDS["qwen3.5"]
    text = shape["text_config"] | {"linear_key_head_dim": 32}
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(hybrid_students.KINDS, "qwen3.5", (kind, shape | {"text_config": text}))
        write("qwen3.5", folder)
    return folder


def test_updates_of_gated_delta_layers_ask_for_no_kernel(wide: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    groups = ragged_groups(100)
    expected = load(wide)
    expected.prepare(OptimizerSpec())
    loss = expected.forward_backward(groups, OBJECTIVE).loss
    with kernels(monkeypatch) as asked:
        policy = load(wide)
        drive(policy.engine(), [request("a", range(1, 9), max_new_tokens=2)])
        assert set(asked) == {"gated delta"}  # sampling has it
        policy.prepare(OptimizerSpec())  # measures what a row keeps, as sampling leaves it
        asked.clear()
        policy.log_probs(groups)
        found = policy.forward_backward(groups, OBJECTIVE).loss
        policy.optimizer_step(1e-3)
        assert asked == []
    assert found == pytest.approx(loss, rel=1e-4)


def test_updates_of_state_space_layers_ask_for_no_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write("granite4", tmp_path)
    # behind a prompt that is shared, a completion of two tokens is a pass over one: there mlx-lm takes the kernel
    ids, ones = np.array([5, 6]), np.ones(2, np.float32)
    groups = [TokenGroup(np.arange(1, 9), (TokenCompletion(ids, ones, -ones, 1.0),) * 2)]
    with kernels(monkeypatch) as asked:
        policy = load(tmp_path)
        drive(policy.engine(), [request("a", range(1, 9), max_new_tokens=3)])
        assert "ssm" in asked
        asked.clear()
        policy.prepare(OptimizerSpec())
        policy.log_probs(groups)
        policy.forward_backward(groups, OBJECTIVE)
        assert asked == []


def test_a_model_without_a_gradient_is_refused_before_it_is_trained(
    wide: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with kernels(monkeypatch):
        policy = load(wide)
        # as if mlx-lm took the kernel in training mode too
        monkeypatch.setattr(policy.model, "train", lambda: None)
        with pytest.raises(BackendError, match="gradient"):
            policy.prepare(OptimizerSpec())


def test_training_mode_leaves_the_models_own_dropout_alone(folder: Path) -> None:
    policy = load(folder, AdapterSpec(rank=2, dropout=0.5))
    own = nn.Dropout(0.5)
    policy.model.layers[0].own = own
    mode = differentiable.UpdateMode(policy.model, dropouts(policy.model))
    for drops in (True, False):
        with mode.on(drops=drops):
            assert policy.model.layers[0].training
            assert not own.training
            assert {module.training for module in dropouts(policy.model)} == {drops}
    assert not any(module.training for module in policy.model.modules())


@pytest.mark.parametrize("own", [True, False], ids=["MLX's own", "mlx-lm's"])
def test_recurrences_in_chunks_keep_fewer_states(own: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    gated = mlx_lm("models.gated_delta")
    if not own:
        monkeypatch.delattr(mx.fast, "gated_delta_update")
    rng = np.random.default_rng(0)
    count, heads, width = 300, 2, 32
    q, k, v = (mx.array(rng.normal(size=(1, count, heads, width)) / 8, dtype=mx.float32) for _ in range(3))
    g, beta = (mx.array(rng.uniform(0.5, 1, size=(1, count, heads)), dtype=mx.float32) for _ in range(2))
    state = mx.array(rng.normal(size=(1, heads, width, width)), dtype=mx.float32)
    mask = mx.arange(count)[None] < 250

    def measured(run: Any) -> tuple[list[np.ndarray], int]:
        def loss(*inputs: mx.array) -> mx.array:
            output, end = run(*inputs, mask)
            return mx.sum(mx.square(output[:, :250])) + mx.sum(mx.square(end))

        mx.eval(q, k, v, g, beta, state)
        found: list[mx.array] = []

        def work() -> None:
            found.extend(mx.grad(loss, argnums=range(6))(q, k, v, g, beta, state))
            mx.eval(found)

        taken = memory_taken(work)
        return [np.array(one) for one in found], taken

    expected, much = measured(gated.gated_delta_ops)
    found, little = measured(differentiable.gated_delta(gated, gated.gated_delta_ops))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5, rtol=1e-4)
    assert little < 0.5 * much
