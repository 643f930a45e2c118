"""The student: a folder that transformers loads."""

from __future__ import annotations

from transformers import AutoModelForCausalLM, AutoTokenizer


def test_it_is_a_model_with_a_tokenizer(build):
    folder = build("students", "weather")
    assert folder == build("students", "weather")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert model.config.vocab_size >= len(tokenizer)
    assert tokenizer.decode(tokenizer.encode("What is 2 + 2?")) == "What is 2 + 2?"
