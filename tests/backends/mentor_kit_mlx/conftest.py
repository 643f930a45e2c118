"""The torch backend's helpers are used here too: its tiny students, and its twins in float64."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "mentor_kit_torch"))


@pytest.fixture(scope="module", params=["llama-tied", "llama", "qwen2-tied", "qwen3-tied"])
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student of each kind that adapters are tried on."""
    from adapter_oracles import KINDS
    from torch_students import SHAPE, write_student

    kind, tied = KINDS[request.param]
    return write_student(tmp_path_factory.mktemp(request.param), kind(**SHAPE, head_dim=8, tie_word_embeddings=tied))


@pytest.fixture(scope="module")
def tied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student whose output projection is its embeddings."""
    from torch_students import write_student

    return write_student(tmp_path_factory.mktemp("tied"))
