"""The contract of sampling outside of a backend, such as by servers. Built by a samplers plugin.

    Backend ──load──> Policy ──start──> SamplingService ──sampler──> Sampler
                        │ optimizer_step, restore
                        └──── the weights changed ────> publish ──── before the next request

A service samples with the weights of a loaded policy, which it has to be given again whenever they change.
`mentor_kit.backend.served_policy` makes policy and service one `Policy`, so that nothing else differs. What a service
must do is tested by `mentor_kit.testing.samplers`.

A local engine draws by counters (`mentor_kit.backend.policy`): the same request gives the same tokens whatever else is
in the batch. A service may draw as it likes from the same distribution; what it does not promise is said in `caveats`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from mentor_kit.backend.policy import Policy
from mentor_kit.backend.sampling import Sampler
from mentor_kit.backend.student import StudentSpec


class SamplingService(ABC):
    """Samples the turns of a policy in the place of its own engine."""

    #: What it does not promise and a local engine does, a sentence each; a run says them once.
    caveats: Sequence[str] = ()

    @abstractmethod
    def start(self, policy: Policy, student: StudentSpec) -> None:
        """Get ready to sample for a policy, once; called before anything else.

        Args:
            policy: whose weights are sampled with. Its own engine is not used.
            student: what it was loaded from.

        Raises:
            MentorKitError: sampling cannot begin, such as when a server is not there or holds another model.
        """

    @property
    def context(self) -> int | None:
        """The longest context in tokens, where it may be shorter than the policy's; known after `start`."""
        return None

    @abstractmethod
    def publish(self, version: int) -> None:
        """Sample with the policy's weights as they are now; requests that run already may keep earlier ones.

        Called before the first request, and before the next one whenever the weights have changed. It blocks, so that
        the policy stands still meanwhile.

        Args:
            version: how many optimizer steps the weights have seen; the same number may stand for other weights later,
                when a checkpoint was restored in between.

        Raises:
            BackendError: the weights did not arrive, or give other log-probabilities there.
        """

    @abstractmethod
    def sampler(self) -> Sampler:
        """A sampler of the weights that were published last, for the episodes of one rollout.

        The `version` of its completions is that of the weights that sampled them.
        """

    def close(self) -> None:
        """Free what was started, when the run is over, however it ends; may be called twice."""
        return
