"""The backend's contract, whole: sampling, updates, gradients, and twenty steps beside PyTorch in float64."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from mentor_kit.backend.student import StudentSpec
from mentor_kit.testing.backend import BackendContract
from mentor_kit.testing.training import GradientContract, TrajectoryContract

from mentor_kit_numpy import backend

VOCABULARY, CONTEXT, DECAY = 61, 96, 0.6


@pytest.fixture
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("student")
    (path / "config.json").write_text(json.dumps({"vocab_size": VOCABULARY, "max_position_embeddings": CONTEXT}))
    return path


@pytest.fixture
def policy_factory(folder):
    def make(token_budget):
        options = backend.NumpyOptions(width=16, token_budget=token_budget or 4096)
        return backend.NumpyBackend(options).load(StudentSpec(str(folder)), seed=0)

    return make


def logits(embedding, output, ids):
    """(T, V), in the arrays' own namespace."""
    state, found = 0.0 * embedding[0], []
    for token in ids:
        state = DECAY * state + embedding[token]
        found.append(state)
    stacked = torch.stack(found) if isinstance(state, torch.Tensor) else np.stack(found)
    return torch.tanh(stacked) @ output if isinstance(state, torch.Tensor) else np.tanh(stacked) @ output


@pytest.fixture
def oracle(policy_factory):
    own = {name: value.astype(np.float64) for name, value in policy_factory(None).trained().items()}
    return lambda ids: logits(own["embedding"], own["output"], ids)


class TestNumpy(BackendContract):
    export_format = "numpy"


class TestNumpyGradients(GradientContract):
    pass


class TestNumpyTrajectories(TrajectoryContract):
    @pytest.fixture
    def trainer(self, policy_factory):
        def train(groups, objective, spec, rates):
            """REINFORCE with the divisor of RLOO: the number of sequences."""
            names = ("embedding", "output")
            start = policy_factory(None).trained()
            embedding, output = (torch.tensor(start[name], dtype=torch.float64, requires_grad=True) for name in names)
            betas, decay = spec.betas, spec.weight_decay
            optimizer = torch.optim.AdamW([embedding, output], betas=betas, eps=spec.eps, weight_decay=decay)

            def log_probs(group, completion):
                ids, start = [*group.prompt_ids, *completion.ids], len(group.prompt_ids)
                rows = torch.log_softmax(logits(embedding, output, ids)[start - 1 : -1] / group.temperature, dim=-1)
                return rows[torch.arange(len(completion.ids)), torch.tensor(completion.ids)]

            pairs = [(group, one) for group in groups for one in group.completions if len(one.ids)]
            counted = sum(bool(one.mask.any()) for _, one in pairs)
            for rate in rates:
                optimizer.param_groups[0]["lr"] = rate
                optimizer.zero_grad()
                for group, one in pairs:
                    weight = one.advantage * torch.tensor(one.mask) / counted
                    (-log_probs(group, one) * weight).sum().backward()
                if spec.clip is not None:
                    torch.nn.utils.clip_grad_norm_([embedding, output], spec.clip)
                optimizer.step()
            with torch.no_grad():
                rows = [log_probs(group, one) * torch.tensor(one.mask) for group, one in pairs]
            return torch.cat(rows).numpy()

        return train
