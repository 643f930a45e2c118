"""The contract of a backend's optimizers: twins in NumPy, written from the papers; subclass it in its tests.

    class TestMyOptimizers(OptimizerContract):
        muon_tolerance = 1e-4             # larger where Muon orthogonalises in bfloat16
        @pytest.fixture
        def make_net(self): ...           # (spec, weights, dtype) -> a `Net` with the parameters of these weights

The parameters are those of `SHAPES`: `table` are embeddings, the others linear layers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
import pytest
from numpy.typing import NDArray

from mentor_kit.backend.optimizer import OptimizerSpec
from mentor_kit.core.errors import BackendError

Floats64 = NDArray[np.float64]
#: Weights, gradient and learning rate to the next weights; keeps its moments.
Step = Callable[[Floats64, Floats64, float], Floats64]


class Net(Protocol):
    """Parameters with the backend's optimizer on them."""

    def add(self, gradients: Mapping[str, Floats64]) -> None:
        """Accumulate gradients, in the parameters' type; those of names that are left out are 0."""
        ...

    def step(self, learning_rate: float) -> tuple[float, bool]:
        """As `mentor_kit.backend.optimizer.Optimizer.step`."""
        ...

    def weights(self) -> dict[str, Floats64]:
        """The parameters as the model has them."""
        ...


MakeNet = Callable[[OptimizerSpec, Mapping[str, Floats64], str], Net]
SHAPES = {"table.weight": (5, 4), "hidden.weight": (6, 4), "hidden.bias": (6,), "wide.weight": (3, 6)}
HIDDEN = ("hidden.weight", "wide.weight")


def adamw(spec: OptimizerSpec) -> Step:
    """Loshchilov and Hutter (arXiv 1711.05101), algorithm 2."""
    first: Any = 0.0
    second: Any = 0.0
    count = 0

    def step(weights: Floats64, gradient: Floats64, rate: float) -> Floats64:
        nonlocal first, second, count
        count += 1
        first = spec.betas[0] * first + (1 - spec.betas[0]) * gradient
        second = spec.betas[1] * second + (1 - spec.betas[1]) * gradient**2
        mean, square = first / (1 - spec.betas[0] ** count), second / (1 - spec.betas[1] ** count)
        found: Floats64 = weights - rate * (mean / (np.sqrt(square) + spec.eps) + spec.weight_decay * weights)
        return found

    return step


def muon(spec: OptimizerSpec) -> Step:
    """Jordan's Muon with Nesterov momentum, scaled as in arXiv 2502.16982, equation 4."""
    momentum: Any = 0.0

    def step(weights: Floats64, gradient: Floats64, rate: float) -> Floats64:
        nonlocal momentum
        momentum = spec.momentum * momentum + (1 - spec.momentum) * gradient
        update = (1 - spec.momentum) * gradient + spec.momentum * momentum
        tall = update.shape[0] > update.shape[1]
        x = update.T if tall else update
        x = x / np.linalg.norm(x)
        for _ in range(5):
            gram = x @ x.T
            x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
        scale = 0.2 * np.sqrt(max(weights.shape))
        found: Floats64 = weights * (1 - rate * spec.weight_decay) - rate * scale * (x.T if tall else x)
        return found

    return step


class OptimizerContract:
    """The tests; see the module for the fixture that a subclass gives."""

    muon_tolerance: ClassVar[float] = 1e-4

    @pytest.mark.parametrize("clip", [None, 1.0])
    def test_adamw(self, make_net: MakeNet, clip: float | None) -> None:
        spec = OptimizerSpec(betas=(0.8, 0.95), weight_decay=0.1, clip=clip)
        rates = [0.05 / (1 + step) for step in range(20)]
        found, expected, _ = _steps(make_net, spec, rates, lambda name: adamw(spec))
        for name, weights in expected.items():
            np.testing.assert_allclose(found[name], weights, rtol=1e-5, atol=1e-5)

    def test_muon_for_hidden_matrices_and_adamw_for_the_rest(self, make_net: MakeNet) -> None:
        spec = OptimizerSpec(use="muon", weight_decay=0.1, clip=None)
        found, expected, before = _steps(
            make_net, spec, [0.1, 0.05, 0.2], lambda name: muon(spec) if name in HIDDEN else adamw(spec)
        )
        for name, weights in expected.items():
            tolerance = self.muon_tolerance if name in HIDDEN else 1e-5
            np.testing.assert_allclose(found[name], weights, atol=tolerance)
            assert np.abs(found[name] - before[name]).max() > 3 * tolerance

    def test_the_first_step_is_corrected_for_its_bias(self, make_net: MakeNet) -> None:
        before = _weights()
        net = make_net(OptimizerSpec(clip=None), before, "float32")
        net.add({name: np.full(shape, 0.3) for name, shape in SHAPES.items()})
        net.step(1e-2)
        for name, value in net.weights().items():
            np.testing.assert_allclose(before[name] - value, 1e-2, rtol=1e-3)

    def test_small_steps_of_16_bit_weights_are_not_lost(self, make_net: MakeNet) -> None:
        net = make_net(OptimizerSpec(eps=1e-12, clip=None, betas=(0.0, 0.0)), _weights(), "bfloat16")
        before = net.weights()
        # each step moves a weight by 1e-5, far below bfloat16's spacing; 200 of them must show
        for _ in range(200):
            net.add({name: np.ones(shape) for name, shape in SHAPES.items()})
            net.step(1e-5)
        moved = np.concatenate([(before[name] - value).ravel() for name, value in net.weights().items()])
        assert moved.mean() == pytest.approx(2e-3, rel=0.2)

    def test_gradients_of_many_micro_batches_add_up_in_float32(self, make_net: MakeNet) -> None:
        net = make_net(OptimizerSpec(clip=None), _weights(), "bfloat16")
        for _ in range(1000):
            net.add({"hidden.bias": np.ones(6)})
        # bfloat16 alone would be stuck at 256
        assert net.step(0.0)[0] == pytest.approx(1000 * 6**0.5)

    def test_a_gradient_that_is_not_finite_changes_nothing(self, make_net: MakeNet) -> None:
        net = make_net(OptimizerSpec(), _weights(), "float32")
        before = net.weights()
        net.add({"hidden.bias": np.full(6, np.inf)})
        with pytest.raises(BackendError):
            net.step(0.1)
        for name, value in net.weights().items():
            np.testing.assert_array_equal(value, before[name])
        assert net.step(0.1)[0] == 0.0


def _weights() -> dict[str, Floats64]:
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=shape) for name, shape in SHAPES.items()}


def _steps(
    make_net: MakeNet, spec: OptimizerSpec, rates: Sequence[float], twin: Callable[[str], Step]
) -> tuple[dict[str, Floats64], dict[str, Floats64], dict[str, Floats64]]:
    """Weights after steps of random gradients, those of the twin, and those before."""
    before, rng = _weights(), np.random.default_rng(1)
    net, steps, expected = make_net(spec, before, "float32"), {name: twin(name) for name in SHAPES}, dict(before)
    for rate in rates:
        gradients = {name: rng.normal(size=shape) for name, shape in SHAPES.items()}
        net.add(gradients)
        norm, clipped = net.step(rate)
        length = float(np.sqrt(sum((value**2).sum() for value in gradients.values())))
        assert norm == pytest.approx(length, rel=1e-5)
        assert clipped == (spec.clip is not None and length > spec.clip)
        factor = min(1.0, spec.clip / length) if spec.clip is not None else 1.0
        expected = {name: steps[name](value, factor * gradients[name], rate) for name, value in expected.items()}
    return net.weights(), expected, before
