"""Models whose layers keep other state than one of keys and values each: sampled and updated as transformers has it."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hybrid_students import RECURRENT, SHARING, TORCH_ALONE, WRAPPED, Twin, own_name, write
from mentor_kit_torch.backend import TorchBackend
from mentor_kit_torch.options import TorchOptions
from torch.utils._python_dispatch import TorchDispatchMode
from torch_students import load, nudge_adapter

from mentor_kit.backend.memory import MemoryLoad
from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.backend.policy import Policy
from mentor_kit.backend.student import AdapterSpec, StudentSpec
from mentor_kit.backend.token_groups import TokenCompletion, TokenGroup
from mentor_kit.testing.backend import BackendContract
from mentor_kit.testing.material import drive, log_softmax, request
from mentor_kit.testing.objectives import make_objective
from mentor_kit.testing.rows import EngineFactory, RowsContract
from mentor_kit.testing.sampling import SamplingContract
from mentor_kit.testing.training import GradientContract

pytestmark = pytest.mark.long
UNCUT = {*RECURRENT, *TORCH_ALONE}
#: transformers' recurrence takes in one token behind others, not several.
ONE_BY_ONE = {"mamba"}
GIB = 2**30


QUICK = ("lfm2", "gemma4")
SLOW = sorted({*UNCUT, *SHARING, *WRAPPED} - {*QUICK})


@pytest.fixture(scope="module", params=[*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def student(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Twin]:
    folder = tmp_path_factory.mktemp(request.param)
    return request.param, folder, write(request.param, folder)


def expected(twin: Twin, context: Any, ids: Any, temperature: float) -> np.ndarray:
    rows = log_softmax(twin([*context, *ids])[len(context) - 1 : -1], temperature)
    found: np.ndarray = rows[np.arange(len(ids)), list(map(int, ids))]
    return found


def check_turns(engine: Any, twin: Twin) -> None:
    """Two turns of two groups behind a common beginning, and of one with a short prompt, against the twin."""
    prompts = [list(range(1, 23)), [*range(1, 17), 50, 51, 52], [5, 2, 9]]
    asked = [
        request(f"{p}.{g}", prompts[p], temperature=0.8, max_new_tokens=3 + 2 * g, seed=10 * p + g)
        for p in range(3)
        for g in range(2)
    ]
    for _ in range(2):
        done = drive(engine, asked)
        for one in asked:
            found = done[one.id]
            np.testing.assert_allclose(found.log_probs, expected(twin, one.context, found.ids, 0.8), atol=1e-4)
        asked = [
            request(f"{r.id}+", [*r.context, *done[r.id].ids, 5, 6], session=r.session, temperature=0.8) for r in asked
        ]


def test_rows_turns_and_groups_are_those_of_transformers(student: tuple[str, Path, Twin]) -> None:
    name, folder, twin = student
    device = load(folder).engine().device
    assert device.keeps_rows
    assert device.cuts_rows == (name not in UNCUT)
    check_turns(load(folder).engine(), twin)


@pytest.mark.spread(1)
def test_few_rows_and_prompts_in_small_parts_change_nothing(student: tuple[str, Path, Twin]) -> None:
    _, folder, twin = student
    check_turns(load(folder, slots=2, prefill_chunk=5, token_budget=16).engine(), twin)


def test_greedy_is_what_transformers_generates(student: tuple[str, Path, Twin]) -> None:
    _, folder, twin = student
    asked = [request(f"{n}", range(n, 2 * n + 3), temperature=0.0, max_new_tokens=8) for n in (1, 20)]
    for one, found in zip(asked, drive(load(folder).engine(), asked).values(), strict=True):
        ids = list(one.context)
        for _ in range(8):
            ids.append(int(twin(ids)[-1].argmax()))
        assert list(found.ids) == ids[len(one.context) :]


def groups_of(lengths: tuple[int, ...]) -> list[TokenGroup]:
    """Prompts of these lengths, each with two completions of tokens, and one of a single token."""

    def completion(*ids: int) -> TokenCompletion:
        ones = np.ones(len(ids), np.float32)
        return TokenCompletion(np.array(ids), ones, -ones, 1.0)

    return [
        TokenGroup(np.arange(n, n + length), (completion(7, 8, n), completion(3, 1, 4, 1, 5), completion(9)))
        for n, length in enumerate(lengths, start=1)
    ]


@pytest.mark.parametrize("lengths", [(9, 4, 9), (6,)], ids=["ragged", "one"])
def test_updates_are_those_of_transformers(student: tuple[str, Path, Twin], lengths: tuple[int, ...]) -> None:
    """Log-probabilities, and gradients against float64 where transformers runs it; prompts are shared or not."""
    name, folder, twin = student
    policy, groups = load(folder), groups_of(lengths)
    for group, rows in zip(groups, policy.log_probs(groups), strict=True):
        for completion, row in zip(group.completions, rows, strict=True):
            np.testing.assert_allclose(row, expected(twin, group.prompt_ids, completion.ids, 1.0), atol=1e-4)
    policy.prepare(OptimizerSpec(clip=None))
    policy.forward_backward(groups, make_objective(preset="sft"))
    # experts are not run in float64
    model = twin.model if name == "qwen3-next" else twin.model.double()
    try:
        theirs = gradients_of(model, groups)
    finally:
        twin.model.to(torch.float32 if name in UNCUT else torch.float64)
    ours = {own_name(key): value.grad for key, value in policy.model.named_parameters() if value.grad is not None}
    assert ours.keys() == theirs.keys()
    found, wanted = (torch.cat([side[key].double().ravel() for key in theirs]) for side in (ours, theirs))
    assert (found - wanted).norm() <= 1e-3 * wanted.norm()


def gradients_of(model: Any, groups: list[TokenGroup]) -> dict[str, torch.Tensor]:
    """Of the mean over tokens of what completions' tokens are short of, a sequence at a time."""
    model.zero_grad()
    total, tokens = torch.zeros((), dtype=torch.float64), 0
    for group in groups:
        for completion in group.completions:
            ids = torch.tensor([[*group.prompt_ids.tolist(), *completion.ids.tolist()]])
            rows = model(input_ids=ids, use_cache=False).logits[0].double().log_softmax(-1)
            places = torch.arange(len(group.prompt_ids) - 1, ids.shape[1] - 1)
            total, tokens = total - rows[places, ids[0, places + 1]].sum(), tokens + len(places)
    (total / tokens).backward()
    return {own_name(name): value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}


@pytest.mark.parametrize("name", ["mamba", "lfm2"])
def test_a_line_says_what_it_costs_that_prompts_are_not_shared(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(name, tmp_path)
    load(tmp_path)
    assert len([message for message in caplog.messages if "again for each" in message]) == (name in ONE_BY_ONE)


class Fresh(TorchDispatchMode):
    """The most bytes of tensors made inside that were alive at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._seen: set[int] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {value.untyped_storage().data_ptr() for value in args if isinstance(value, torch.Tensor)}
        made = function(*args, **(kwargs or {}))
        for value in made if isinstance(made, (tuple, list)) else (made,):
            if isinstance(value, torch.Tensor):
                self._count(value.untyped_storage(), given)
        return made

    def _count(self, storage: Any, given: set[int]) -> None:
        place, size = storage.data_ptr(), storage.nbytes()
        if place in given or place in self._seen:
            return
        self._seen.add(place)
        self.now += size
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._gone, place, size)

    def _gone(self, place: int, size: int) -> None:
        self._seen.discard(place)
        self.now -= size


@pytest.mark.spread(1)
@pytest.mark.parametrize("name", ["qwen3.5", "falcon-h1", "gemma4"])
def test_a_decoding_step_takes_no_more_memory_behind_a_long_prompt(name: str, tmp_path: Path) -> None:
    """Keys are read where they are, and state is of fixed size: what a step takes beside them does not grow."""
    write(name, tmp_path)
    engine = load(tmp_path, slots=4).engine()
    peaks = []
    for length in (10, 80):
        for i in range(4):
            engine.submit(request(f"{length}.{i}", [1 + i, *range(1, length)], max_new_tokens=4))
        engine.step()
        engine.step()
        with Fresh() as fresh:
            engine.step()
        peaks.append(fresh.most)
        drive(engine, [])
        for i in range(4):
            engine.release(f"{length}.{i}")
    assert peaks[0] > 0
    # of attention alone: four rows, four heads, 70 more scores in float32, and masks
    assert peaks[1] <= peaks[0] + 4 * 4 * 70 * (3 * 4 + 1)


@pytest.mark.spread(1)
@pytest.mark.parametrize("name", ["lfm2", "falcon-h1", "gemma4"])
def test_rows_and_a_prefix_are_held_to_the_memory(name: str, tmp_path: Path) -> None:
    """Of keys and values by position, and of what is of fixed size."""
    write(name, tmp_path)
    alone = load(tmp_path).engine()
    budget = alone.budget
    assert (budget.row > 0) == (name in UNCUT)
    room = 6 * (128 * budget.position + budget.row)
    engine = load(tmp_path, kv_memory=room / GIB).engine()
    asked = [request(f"{i}", [*range(1, 20), i, i + 1], max_new_tokens=4, seed=i) for i in range(12)]
    for one in asked:
        engine.submit(one)
    found, most = {}, 0
    while engine.busy:
        found |= {done.id: done for done in engine.step()}
        most = max(most, engine.device.nbytes)
    assert 0.8 * room <= most <= room
    assert {key: done.ids for key, done in found.items()} == {
        key: done.ids for key, done in drive(alone, asked).items()
    }


def test_a_dry_run_counts_state_of_fixed_size(tmp_path: Path) -> None:
    write("lfm2", tmp_path)
    backend, spec = TorchBackend(TorchOptions(device="cpu", dtype="float32")), StudentSpec(str(tmp_path))
    parts = [
        backend.estimate(spec, MemoryLoad(sequences=4, context=count, train_tokens=0)).parts["keys and values"]
        for count in (0, 64)
    ]
    # two convolutions keep three positions of 32 numbers; one layer attends with two heads of eight
    assert parts == [4 * 2 * 3 * 32 * 4, 4 * (2 * 3 * 32 * 4 + 64 * 2 * 2 * 8 * 4)]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["qwen3.5", "granite4", "mamba"])
def test_16_bits_are_run_as_float32_is(name: str, tmp_path: Path) -> None:
    """The trials find the same, and what is sampled in rows is what one pass over each sequence gives."""
    write(name, tmp_path)
    policy, wide = load(tmp_path, dtype="bfloat16"), load(tmp_path)
    assert (policy._rows, policy._sharing) == (wide._rows, wide._sharing)
    asked = [request(f"{n}", range(1 + n, 20), max_new_tokens=6, seed=n) for n in range(3)]
    done = drive(policy.engine(), asked)
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16)
    whole = Twin(model, torch.bfloat16)
    for one in asked:
        found = done[one.id]
        np.testing.assert_allclose(found.log_probs, expected(whole, one.context, found.ids, 1.0), atol=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["qwen3.5", "falcon-h1", "mamba", "gemma4"])
def test_adapters_are_trained_behind_shared_prompts(name: str, tmp_path: Path) -> None:
    """As behind prompts of their own, by the gradients that the adapter gets."""
    write(name, tmp_path)
    groups = groups_of((9, 4))
    apart = [TokenGroup(group.prompt_ids, (one,), group.temperature) for group in groups for one in group.completions]
    norms = []
    for given in (groups, apart):
        policy = load(tmp_path, AdapterSpec(rank=4))
        nudge_adapter(policy)
        policy.prepare(OptimizerSpec(clip=None))
        loss = policy.forward_backward(given, make_objective(preset="sft")).loss
        norms.append([loss, *(float(p.grad.norm()) for p in policy.model.parameters() if p.grad is not None)])
    assert len(norms[0]) > 4
    assert norms[0] == pytest.approx(norms[1], rel=1e-3, abs=1e-5)


@pytest.fixture(scope="module", params=["lfm2", pytest.param("qwen3.5", marks=pytest.mark.slow)])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    write(request.param, found := tmp_path_factory.mktemp(request.param))
    return found


@pytest.mark.slow
class TestRecurrentRows(RowsContract):
    @pytest.fixture(scope="class")
    def folder(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        write("lfm2", found := tmp_path_factory.mktemp("lfm2"))
        return found

    @pytest.fixture
    def engine_factory(self, folder: Path) -> EngineFactory:
        return lambda **options: load(folder, **options).engine()


class TestRecurrentFewSlots(SamplingContract):
    """Rows are given up and taken again all the time; prompts are prefilled in small parts."""

    draws = 200

    @pytest.fixture
    def policy_factory(self, folder: Path) -> Callable[[int | None], Policy]:
        return lambda budget: load(folder, token_budget=budget or 64, slots=3, prefill_chunk=4)


@pytest.mark.slow
class TestHybrids(BackendContract, GradientContract):
    @pytest.fixture
    def policy_factory(self, folder: Path) -> Callable[[int | None], Policy]:
        return lambda budget: load(folder, token_budget=budget or 16384)
