"""Whole GRPO steps by TRL's trainer, without tools and with them; TRL comes with the extra `benchmarks`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import peers
from shape import Shape

END = 1


class Step:
    """A step over prompts of `Shape`.

    TRL takes strings, so the prompts are words of the tokenizer, one token each; that their lengths, and the number
    of sampled tokens, are those asked for is checked in every step.

    Args:
        folder: a model in transformers' format.
        shape: of the prompts and completions.
        threads: of torch.
        cut: keep the output projection to the completions' positions; as it comes, TRL's runs over the prompts as well.
        device: `cpu`, in float32, or `cuda`, where TRL's steps are in bfloat16 beside weights in float32.
    """

    def __init__(self, folder: Path, shape: Shape, threads: int | None, cut: bool = False, device: str = "cpu") -> None:
        from datasets import Dataset

        self._shape, self._sampled = shape, list[int]()
        model = peers.load(folder, threads)
        tokenizer = word_tokenizer(model.config.vocab_size)
        prompts = shape.prompts(model.config.vocab_size)[:: shape.group]
        texts = [" ".join(map(word, prompt)) for prompt in prompts]
        assert [tokenizer(text)["input_ids"] for text in texts] == prompts
        self._trainer = trainer(
            cut_trainer() if cut else plain_trainer(),
            model,
            reward_funcs=self._reward,
            train_dataset=Dataset.from_dict({"prompt": texts}),
            processing_class=tokenizer,
            per_device_train_batch_size=shape.problems * shape.group,
            num_generations=shape.group,
            max_completion_length=shape.completion,
            generation_kwargs={"min_new_tokens": shape.completion},
            learning_rate=1e-6,
            bf16=device != "cpu",
            use_cpu=device == "cpu",
        )

    def __call__(self) -> dict[str, Any]:
        self._sampled.clear()
        # the trainer's own count leaves out what it sets up around its steps
        seconds = float(self._trainer.train().metrics["train_runtime"])
        expected = [self._shape.completion] * (self._shape.problems * self._shape.group)
        assert self._sampled == expected, (self._sampled, expected)
        return {"seconds": seconds, "tokens": sum(self._sampled)}

    def _reward(self, completions: list[str], completion_ids: list[list[int]], **columns: Any) -> list[float]:
        self._sampled += [len(ids) for ids in completion_ids]
        return [float(sum(ids) % 7) for ids in completion_ids]


class ToolStep:
    """A step of the quickstart's student on its task with its tools, by `GRPOTrainer(tools=…)`.

    The problems, tools, limits and sampling are the quickstart's; the reward is the answer alone, which costs TRL less.

    Args:
        problems: of a step.
        group: episodes of a problem.
        turns: the most turns of an episode.
        threads: of torch.
    """

    def __init__(self, problems: int, group: int, turns: int, threads: int) -> None:
        from datasets import Dataset
        from mentor_kit_math.arithmetic import ArithmeticTask
        from mentor_kit_math.operations import OPERATIONS, evaluate
        from mentor_kit_tiny.components import TINY
        from transformers import AutoTokenizer
        from trl.chat_template_utils import qwen3_template

        task = ArithmeticTask(capacity_gap=False, blind_check=False)
        questions = [problem.opening()[-1].content for problem in task.problems("train", 0, problems)]
        tokenizer = AutoTokenizer.from_pretrained(TINY)
        # the tiny student's calls are written as Qwen3's are
        tokenizer.response_template = qwen3_template

        def tool(name: str) -> Any:
            import functools

            @functools.wraps(OPERATIONS[name])
            def call(**arguments: Any) -> Any:
                return evaluate(name, arguments)

            return call

        self._trainer = trainer(
            counting_trainer(),
            peers.load(TINY, threads),
            reward_funcs=answered,
            tools=[tool(name) for name in OPERATIONS],
            train_dataset=Dataset.from_list(
                [{"prompt": [{"role": "user", "content": question}]} for question in questions]
            ),
            processing_class=tokenizer,
            per_device_train_batch_size=problems * group,
            num_generations=group,
            max_completion_length=256,
            max_tool_calling_iterations=turns - 1,
            generation_kwargs={"max_new_tokens": 64},
            temperature=1.0,
            top_k=0,
            learning_rate=1e-9,
        )

    def __call__(self) -> dict[str, Any]:
        self._trainer.drawn = 0
        seconds = float(self._trainer.train().metrics["train_runtime"])
        return {"seconds": seconds, "tokens": self._trainer.drawn}


def answered(completions: Any, **columns: Any) -> list[float]:
    """Whether the last turn has an answer."""
    return [float("boxed" in str(completion[-1].get("content"))) for completion in completions]


def plain_trainer() -> Any:
    """TRL's trainer as it comes."""
    from trl import GRPOTrainer

    return GRPOTrainer


def counting_trainer() -> Any:
    """TRL's trainer, which counts in `drawn` the tokens it has sampled, without those of tools' results."""
    from trl import GRPOTrainer

    class CountingTrainer(GRPOTrainer):  # type: ignore[misc]
        """Nothing is computed otherwise."""

        drawn = 0

        def _tool_call_loop(self, *args: Any, **options: Any) -> Any:
            found = super()._tool_call_loop(*args, **options)
            self.drawn += sum(map(sum, found[0]))
            return found

    return CountingTrainer


def cut_trainer() -> Any:
    """TRL's trainer with its output projection kept to the completions' positions."""
    import torch
    from trl import GRPOTrainer

    class CutTrainer(GRPOTrainer):  # type: ignore[misc]
        """Only the log-probabilities are computed otherwise."""

        def _get_per_token_logps_and_entropies(
            self, model: Any, input_ids: Any, attention_mask: Any, logits_to_keep: int, *args: Any, **options: Any
        ) -> Any:
            # one more than the completion's, as a token is predicted from the one before
            logits = model(
                input_ids=input_ids, attention_mask=attention_mask, logits_to_keep=logits_to_keep + 1, use_cache=False
            ).logits[:, :-1]
            log_probs = torch.log_softmax(logits / self.temperature, dim=-1)
            found = log_probs.gather(-1, input_ids[:, -logits_to_keep:].unsqueeze(-1)).squeeze(-1)
            with torch.no_grad():
                entropies = -(log_probs.exp() * log_probs).sum(-1) if options.get("compute_entropy") else None
            return found, entropies, None

    return CutTrainer


def trainer(
    kind: Any, model: Any, *, reward_funcs: Any, train_dataset: Any, processing_class: Any, **options: Any
) -> Any:
    """A trainer that takes one step for each call of `train`."""
    from transformers import PrinterCallback
    from trl import GRPOConfig

    tools = {"tools": options.pop("tools")} if "tools" in options else {}
    config = GRPOConfig(
        output_dir=tempfile.mkdtemp(),
        max_steps=1,
        beta=0.0,
        gradient_checkpointing=False,
        report_to="none",
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        shuffle_dataset=False,
        **({"bf16": False, "use_cpu": True} | options),
    )
    made = kind(
        model=model,
        reward_funcs=reward_funcs,
        args=config,
        train_dataset=train_dataset,
        processing_class=processing_class,
        **tools,
    )
    made.remove_callback(PrinterCallback)
    return made


def word(token: int) -> str:
    """A token as text; the end's is no beginning of another."""
    return "<end>" if token == END else f"w{token}"


def word_tokenizer(vocabulary: int) -> Any:
    """A tokenizer whose token n is the word `word(n)`."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {word(token): token for token in range(vocabulary)}
    inner = Tokenizer(models.WordLevel(words, unk_token="w0"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token=word(END), pad_token=word(END), padding_side="left"
    )
