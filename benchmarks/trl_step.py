"""A whole GRPO step by TRL's trainer, with the shape of `speed.Shape`; TRL comes with the extra `benchmarks`.

TRL takes text, so that the prompts are words of the tokenizer, one token each; that their lengths, and the number of
sampled tokens, are those asked for is checked in every step.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import peers

END = 1


class Step:
    """A trainer that takes a step at a time; `seconds` are those of the last one.

    Args:
        folder: a model in transformers' format.
        prompts: token ids, one prompt a group, all of one length.
        group: completions of a prompt.
        new_tokens: of every completion; stop tokens are never drawn before.
    """

    def __init__(self, folder: Path, prompts: list[list[int]], group: int, new_tokens: int) -> None:
        self.sampled: list[int] = []
        self.seconds = 0.0
        self._prompts, self._group, self._new_tokens = prompts, group, new_tokens
        self._folder = folder
        self._trainer = self._make()

    def __call__(self) -> int:
        """The number of tokens that were sampled and trained on."""
        self.sampled.clear()
        # the trainer's own count leaves out what it sets up around its steps
        self.seconds = float(self._trainer.train().metrics["train_runtime"])
        expected = [self._new_tokens] * (len(self._prompts) * self._group)
        assert self.sampled == expected, (self.sampled, expected)
        return sum(self.sampled)

    def _make(self) -> Any:
        from datasets import Dataset
        from transformers import PrinterCallback
        from trl import GRPOConfig, GRPOTrainer

        model = peers.load(self._folder)
        tokenizer = word_tokenizer(model.config.vocab_size)
        texts = [" ".join(map(word, prompt)) for prompt in self._prompts]
        assert [tokenizer(text)["input_ids"] for text in texts] == self._prompts
        count = len(self._prompts) * self._group

        def reward(completions: list[str], completion_ids: list[list[int]], **columns: Any) -> list[float]:
            self.sampled += [len(ids) for ids in completion_ids]
            return [float(sum(ids) % 7) for ids in completion_ids]

        config = GRPOConfig(
            output_dir=tempfile.mkdtemp(),
            max_steps=1,
            per_device_train_batch_size=count,
            num_generations=self._group,
            max_completion_length=self._new_tokens,
            generation_kwargs={"min_new_tokens": self._new_tokens},
            learning_rate=1e-6,
            beta=0.0,
            bf16=False,
            gradient_checkpointing=False,
            report_to="none",
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            use_cpu=True,
            shuffle_dataset=False,
        )
        trainer = GRPOTrainer(
            model=model,
            reward_funcs=reward,
            args=config,
            train_dataset=Dataset.from_dict({"prompt": texts}),
            processing_class=tokenizer,
        )
        trainer.remove_callback(PrinterCallback)
        return trainer


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
