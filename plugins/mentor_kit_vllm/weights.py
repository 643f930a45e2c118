"""A policy's weights as servers get them: a whole model or an adapter in a folder, under a label that is never reused.

A server that is given an adapter under a name or a path that it knows keeps cached keys and values of the earlier one:
so each has a name and a folder of its own.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path

from mentor_kit.backend.policy import Policy
from mentor_kit.backend.student import StudentSpec
from mentor_kit.core.errors import BackendError
from mentor_kit_vllm.untied import untie

#: Folders of earlier weights that are kept, for requests that still use them.
_KEPT = 2


@dataclass(frozen=True)
class PublishedWeights:
    """Weights as they were at one time."""

    label: str
    """The servers' name for them."""
    version: int
    """How many optimizer steps they had seen."""
    folder: Path
    """Where they are written."""
    adapter: bool
    """Whether they are an adapter, to be used beside the weights that a server has; else a whole model."""

    @property
    def model(self) -> str | None:
        """The model that a request for them names; None for the one that the server serves."""
        return self.label if self.adapter else None


class WeightFiles:
    """Writes a policy's weights into folders, and removes old ones.

    Args:
        policy: whose weights.
        student: what it was loaded from.
        parent: an existing folder for them; a temporary one if None.
        untied: whether whole models get an output projection of their own.
    """

    def __init__(self, policy: Policy, student: StudentSpec, parent: Path | None, *, untied: bool) -> None:
        self._policy, self._adapter, self._untied = policy, student.adapter is not None, untied
        self._name = f"mentorkit-{uuid.uuid4().hex[:8]}"
        self.folder = Path(tempfile.mkdtemp(prefix=f"{self._name}-", dir=parent))
        if parent is not None:
            self.folder.chmod(0o755)  # servers may run as another user
        self._numbers = itertools.count()
        self._written: list[PublishedWeights] = []

    def write(self, version: int) -> PublishedWeights:
        """Write the weights as they are now."""
        label = f"{self._name}-{next(self._numbers)}-v{version}"
        weights = PublishedWeights(label, version, self.folder / label, self._adapter)
        if self._adapter:
            self._policy.export(weights.folder, format="adapter")
        else:
            self.write_whole(weights.folder)
        self._written.append(weights)
        return weights

    def write_whole(self, folder: Path) -> None:
        """Write the whole model."""
        self._policy.export(folder, format="transformers")
        if not any(folder.glob("*.safetensors")):
            raise BackendError(f"the backend wrote no files of safetensors to {folder}")
        if self._untied:
            untie(folder)

    def forget_old(self) -> list[PublishedWeights]:
        """Remove the folders of all weights but the last ones; returns whose."""
        old, self._written = self._written[:-_KEPT], self._written[-_KEPT:]
        for weights in old:
            shutil.rmtree(weights.folder, ignore_errors=True)
        return old

    def close(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.folder, ignore_errors=True)
