"""A preview as data: what a person looks at before a run."""

from __future__ import annotations

from mentor_kit.core.frozen_model import FrozenModel, Json
from mentor_kit.core.trajectory import Trajectory
from mentor_kit.rl.reward import Breakdown


class TokenSpan(FrozenModel):
    """Consecutive tokens of a sequence that are all trained on, or all masked."""

    string: str
    """The tokens decoded, special tokens included."""
    tokens: int
    """The number of tokens."""
    trained: bool
    """Whether the loss is taken on them (mask 1): the assistant's own turns."""


class PreviewedDemonstration(FrozenModel):
    """A demonstration as the student would be trained on it, and what it would earn."""

    teacher: str
    correct: bool
    trajectory: Trajectory | None
    """None where only the names of the tools are known."""
    tools_used: tuple[str, ...]
    reward: Breakdown | None = None
    """The recipe's reward at the end of its schedules; None where it is not scored."""
    spans: tuple[TokenSpan, ...] = ()
    """The tokens after the prompt; empty where there is no tokenizer, or the demonstration cannot be imitated."""
    faults: tuple[str, ...] = ()
    """Why the demonstration cannot be imitated, and which limits the student would exceed with it."""

    @property
    def response_tokens(self) -> int:
        """The number of tokens after the prompt."""
        return sum(span.tokens for span in self.spans)

    @property
    def trained_tokens(self) -> int:
        """The number of tokens that are trained on."""
        return sum(span.tokens for span in self.spans if span.trained)


class PreviewedProblem(FrozenModel):
    """A problem as the student reads it."""

    id: str
    split: str
    group: str
    question: str
    key: str
    tools: tuple[str, ...]
    """The names of its tools."""
    prompt: str = ""
    """The rendered prompt with its special tokens; empty where there is no tokenizer."""
    prompt_tokens: int | None = None
    demonstrations: tuple[PreviewedDemonstration, ...] = ()


class Measured(FrozenModel):
    """A length in tokens or turns, measured against its limit."""

    name: str
    limit: int | None
    """The largest number that is allowed; None where it is not known."""
    mean: float
    largest: int
    above: int
    """The number of samples above the limit."""
    samples: int


class CollectionCost(FrozenModel):
    """The estimated cost of collecting the demonstrations that the recipe's stages need."""

    problems: int
    """Problems that need a demonstration, at one episode each."""
    requests: int
    input_tokens: int
    """Tokens sent, each turn with all that comes before it."""
    output_tokens: int
    dollars: float | None
    """None where no prices are known."""
    seconds: float
    assumptions: tuple[str, ...]
    """What the figures rest on, in sentences."""


class Preview(FrozenModel):
    """The first problems of a recipe, with all that the student and the teacher make of them."""

    recipe: str
    model: str
    teacher: str
    """The teacher's name; empty where the recipe has none."""
    split: str
    problems: tuple[PreviewedProblem, ...]
    tools: dict[str, dict[str, Json]]
    """The JSON schema of every tool of these problems, by its name."""
    lengths: tuple[Measured, ...] = ()
    measured: int = 0
    """The number of problems whose lengths were measured."""
    demonstrations: int = 0
    """The number of demonstrations of the measured problems."""
    faulty: int = 0
    """How many of them cannot be imitated, or exceed a limit of the student."""
    reward_maximum: float | None = None
    """The largest reward a trajectory can earn; None without a reward."""
    cost: CollectionCost | None = None
    """None where the teacher costs nothing, or no stage needs demonstrations."""
    notes: tuple[str, ...] = ()
    """What could not be shown, and why."""

    def as_data(self) -> dict[str, Json]:
        """The preview as JSON."""
        data: dict[str, Json] = self.model_dump(mode="json")
        return data
