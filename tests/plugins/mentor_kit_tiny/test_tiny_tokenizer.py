"""The tiny student: its tokenizer, its template, its blank weights."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mentor_kit_math.arithmetic import ArithmeticTask
from mentor_kit_math.operations import math_tools
from mentor_kit_records.records_task import RecordsTask
from mentor_kit_records.tables import COLUMNS, MONTHS, NAMES, WORDS
from mentor_kit_records.tools import COUNTS, RecordToolSource
from mentor_kit_tiny.blank import write_blank
from mentor_kit_tiny.noisy_demonstrator import HABITS, NoisyDemonstrator
from mentor_kit_tiny.tokenizer import CONTEXT, chunks

from mentor_kit.chat import ChatFormat, load_chat_format
from mentor_kit.core.agent import EpisodeLimits, EpisodeRequest
from mentor_kit.core.conversation import Message, ToolResult, assistant, call, system, tool_result, user
from mentor_kit.core.task import Problem, Task
from mentor_kit.core.tool import Tool
from mentor_kit.core.toolbox import FunctionTools, Toolbox
from mentor_kit.rollout import run_episodes

TOOLBOX = Toolbox([FunctionTools(math_tools(2))])
TOOLS = TOOLBOX.tools(Problem(id="p", question="q", answer="0"))
RECORD_TOOLS = Toolbox([RecordToolSource()]).tools(RecordsTask().problems("train", 0, 1)[0])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_blank(tmp_path_factory.mktemp("tiny") / "student", 0)


@pytest.fixture(scope="module")
def chat(folder: Path) -> ChatFormat:
    return load_chat_format(folder)


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def dialogues() -> list[tuple[Message, ...]]:
    """Transcripts of the noisy demonstrator, with wrong tools, failed calls and all."""
    task = ArithmeticTask()
    problems = [*task.problems("train", 0, 150), *task.problems("longer", 0, 10), *task.problems("wordings", 0, 20)]
    episodes = [EpisodeRequest(id=p.id, problem=p, tools=TOOLS, seed=index) for index, p in enumerate(problems)]
    limits = EpisodeLimits(max_turns=4)
    agent = NoisyDemonstrator(HABITS, task.noisy_world)
    played = asyncio.run(run_episodes(agent, episodes, task=task, toolbox=TOOLBOX, limits=limits))
    return [trajectory.messages for trajectory in played]


class TestTokens:
    @given(text=st.text() | st.text('0123456789.,-\\{}[]": \nabc') | st.lists(st.sampled_from(chunks())).map("".join))
    def test_any_text_decodes_to_itself(self, tokenizer: Any, text: str) -> None:
        ids = tokenizer.encode(text, add_special_tokens=False)
        assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text

    @pytest.mark.parametrize(
        "text", ["", "\x00", "e\u0301", "\u00e9", "👩‍👩‍👧", "\u202e", "\r\n\t ", "９", "  a  b  ", "ﬁ"]
    )
    def test_odd_texts_decode_to_themselves(self, tokenizer: Any, text: str) -> None:
        ids = tokenizer.encode(text, add_special_tokens=False)
        assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text

    def test_adds_nothing_of_its_own(self, tokenizer: Any) -> None:
        assert tokenizer.encode("add 5") == tokenizer.encode("add 5", add_special_tokens=False)

    def test_each_chunk_is_one_token(self, tokenizer: Any) -> None:
        for chunk in [*chunks(), "<|im_start|>", "<|im_end|>", "<|pad|>"]:
            assert len(tokenizer.encode(chunk)) == 1, chunk

    def test_the_opening_of_every_tools_call_is_one_token(self, tokenizer: Any) -> None:
        openings = set()
        for tool in TOOLS.values():
            first = next(iter(tool.parameters["properties"]))
            ids = tokenizer.encode(f'<tool_call>\n{{"name": "{tool.name}", "arguments": {{"{first}": ')
            assert len(ids) == 1
            openings.add(ids[0])
        assert len(openings) == 12

    @pytest.mark.parametrize("tool", RECORD_TOOLS.values(), ids=list(RECORD_TOOLS))
    def test_the_frame_of_a_call_with_strings_is_a_token_a_gap(self, tokenizer: Any, tool: Tool) -> None:
        names = list(tool.parameters["properties"])
        given = json.dumps(dict.fromkeys(names, "Anna"))
        text = f'<tool_call>\n{{"name": "{tool.name}", "arguments": {given}}}\n</tool_call>'
        pieces = [tokenizer.decode([token]) for token in tokenizer.encode(text)]
        assert pieces[1::2] == ["Anna"] * len(names)
        assert len(pieces) == 2 * len(names) + 1

    def test_every_name_and_word_of_the_records_is_one_token_wherever_it_stands(self, tokenizer: Any) -> None:
        found = {
            word for rows in (*NAMES.values(), *WORDS.values(), MONTHS, COUNTS, *COLUMNS.values()) for word in rows
        }
        assert len(found) == 93 - len(COLUMNS)
        for word in [*found, *COLUMNS]:
            for before, after in (('"', '"'), ("<tool_response>\n", "\n</tool_response>"), (", ", ","), ("{", "}")):
                around = len(tokenizer.encode(before)) + len(tokenizer.encode(after))
                assert len(tokenizer.encode(before + word + after)) == around + 1, word
        for name in (name for rows in NAMES.values() for name in rows):
            assert len(tokenizer.encode(f"Take {name}.")) == 3, name

    def test_every_digit_stands_alone(self, tokenizer: Any) -> None:
        for text in ("1234567890", "-12.50", "Start with 412. Then add 88.", '{"a": 99, "b": 100}', "\\boxed{1000}"):
            pieces = [tokenizer.decode([token]) for token in tokenizer.encode(text)]
            assert "".join(pieces) == text
            assert all(piece.isdigit() is False or len(piece) == 1 for piece in pieces)
            assert [piece for piece in pieces if any(map(str.isdigit, piece))] == [c for c in text if c.isdigit()]

    def test_no_token_holds_a_digit_beside_anything_else(self, tokenizer: Any) -> None:
        for index in range(len(tokenizer)):
            text = tokenizer.decode([index])
            assert text.isascii() is False or not any(map(str.isdigit, text)) or len(text) == 1

    def test_a_transcript_is_short(self, chat: ChatFormat, dialogues: Sequence[tuple[Message, ...]]) -> None:
        lengths = [len(_tokens(chat, messages)) for messages in dialogues]
        assert sum(lengths) / len(lengths) < 130
        assert max(lengths) < CONTEXT / 2


class TestTemplate:
    def _text(self, tokenizer: Any, messages: Sequence[Message], **options: Any) -> str:
        schemas = [tool.schema for tool in TOOLS.values()]
        return str(
            tokenizer.apply_chat_template([_wire(m) for m in messages], tools=schemas, tokenize=False, **options)
        )

    def test_by_hand(self, tokenizer: Any) -> None:
        messages = (
            user("Start with 4. Then add 3. What is the result?"),
            assistant(calls=[call("add", a=4, b=3)]),
            tool_result(ToolResult(name="add", content="7")),
            assistant(r"\boxed{7}"),
        )
        assert self._text(tokenizer, messages) == (
            "<|im_start|>system\nTools: add subtract multiply divide sum_numbers floor ceil round_number power sqrt "
            "abs_value modulo<|im_end|>\n"
            "<|im_start|>user\nStart with 4. Then add 3. What is the result?<|im_end|>\n"
            '<|im_start|>assistant\n<tool_call>\n{"name": "add", "arguments": {"a": 4, "b": 3}}\n</tool_call>'
            "<|im_end|>\n"
            "<|im_start|>user\n<tool_response>\n7\n</tool_response><|im_end|>\n"
            "<|im_start|>assistant\n\\boxed{7}<|im_end|>\n"
        )

    def test_a_system_message_and_several_calls(self, tokenizer: Any) -> None:
        messages = (
            system("Be brief."),
            user("Go."),
            assistant("Two.", calls=[call("sqrt", number=9), call("floor", number=1.5)]),
            tool_result(ToolResult(name="sqrt", content="3")),
            tool_result(ToolResult(name="floor", content="1")),
        )
        text = self._text(tokenizer, messages, add_generation_prompt=True)
        assert text.startswith("<|im_start|>system\nBe brief.\nTools: add subtract ")
        assert text.endswith(
            "<|im_start|>assistant\nTwo.\n"
            '<tool_call>\n{"name": "sqrt", "arguments": {"number": 9}}\n</tool_call>\n'
            '<tool_call>\n{"name": "floor", "arguments": {"number": 1.5}}\n</tool_call><|im_end|>\n'
            "<|im_start|>user\n<tool_response>\n3\n</tool_response>\n<tool_response>\n1\n</tool_response><|im_end|>\n"
            "<|im_start|>assistant\n"
        )

    def test_the_rendering_of_more_messages_starts_with_that_of_fewer(
        self, tokenizer: Any, dialogues: Sequence[tuple[Message, ...]]
    ) -> None:
        for messages in dialogues[:60]:
            for count in range(1, len(messages)):
                shorter, longer = (self._text(tokenizer, messages[:n]) for n in (count, count + 1))
                assert longer.startswith(shorter)
                assert len(longer) > len(shorter)


class TestChatFormat:
    def test_pieces_together_are_the_whole(
        self, chat: ChatFormat, tokenizer: Any, dialogues: Sequence[tuple[Message, ...]]
    ) -> None:
        schemas = [tool.schema for tool in TOOLS.values()]
        for messages in dialogues:
            whole = tokenizer.apply_chat_template([_wire(m) for m in messages], tools=schemas, tokenize=False)
            # the last turn's end of line belongs to what would follow
            assert _tokens(chat, messages) == tokenizer.encode(whole.removesuffix("\n"))

    def test_turns_read_back_as_they_were(self, chat: ChatFormat, dialogues: Sequence[tuple[Message, ...]]) -> None:
        turns = [message for messages in dialogues for message in messages if message.role == "assistant"]
        assert len(turns) > 250
        for turn in turns:
            heard = chat.parse(chat.render_turn(turn))
            assert heard.content == turn.content
            assert [(made.name, made.arguments) for made in heard.tool_calls] == [
                (made.name, made.arguments) for made in turn.tool_calls
            ]

    @pytest.mark.parametrize("task", [ArithmeticTask(), RecordsTask()], ids=["arithmetic", "records"])
    @pytest.mark.parametrize("split", ["train", "in-domain", "compositions", "wordings", "broad"])
    def test_worked_solutions_read_back_as_they_were(self, chat: ChatFormat, split: str, task: Task) -> None:
        for problem in task.problems(split, 0, 25):
            dialogue: list[Message] = list(problem.opening())
            for _ in problem.extra["steps"]:
                turn = task.solve(problem, dialogue)
                heard = chat.parse(chat.render_turn(turn))
                assert [(made.name, made.arguments) for made in heard.tool_calls] == [
                    (made.name, made.arguments) for made in turn.tool_calls
                ]
                dialogue.append(turn)
            last = task.solve(problem, dialogue)
            assert chat.parse(chat.render_turn(last)) == last

    def test_ends_of_turns(self, chat: ChatFormat, tokenizer: Any) -> None:
        assert chat.stop_ids == {tokenizer.convert_tokens_to_ids("<|im_end|>")}

    @given(ids=st.lists(st.integers(0, 400), max_size=60))
    def test_any_tokens_are_some_message(self, chat: ChatFormat, ids: list[int]) -> None:
        assert chat.parse(ids).role == "assistant"


class TestBlank:
    def test_small(self, folder: Path) -> None:
        from safetensors.numpy import load_file

        parameters = sum(tensor.size for tensor in load_file(folder / "model.safetensors").values())
        assert 0.5e6 < parameters <= 1.5e6
        assert sum(path.stat().st_size for path in folder.rglob("*")) <= 6_000_000

    def test_the_configuration_fits_the_tokenizer(self, folder: Path, tokenizer: Any) -> None:
        config = json.loads((folder / "config.json").read_text())
        assert config["vocab_size"] == len(tokenizer)
        assert config["eos_token_id"] == tokenizer.eos_token_id == tokenizer.convert_tokens_to_ids("<|im_end|>")
        assert config["pad_token_id"] == tokenizer.pad_token_id != tokenizer.eos_token_id
        assert config["max_position_embeddings"] == CONTEXT

    def test_files_follow_from_the_seed_alone(
        self, folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        import torch

        torch.manual_seed(123)
        before = torch.random.get_rng_state()
        same, other = (_digests(write_blank(tmp_path / str(seed), seed)) for seed in (0, 1))
        assert torch.equal(torch.random.get_rng_state(), before), "nobody else's chance is touched"
        assert same == _digests(folder)
        assert {name for name in same if same[name] != other[name]} == {"model.safetensors"}
        assert capfd.readouterr() == ("", ""), "nothing on the terminal"


def _digests(folder: Path) -> dict[str, bytes]:
    return {path.name: hashlib.sha256(path.read_bytes()).digest() for path in folder.iterdir()}


def _tokens(chat: ChatFormat, messages: Sequence[Message]) -> list[int]:
    """A dialogue as a rollout makes it: the prompt, turns, and what stands between them."""
    start = next(index for index, message in enumerate(messages) if message.role == "assistant")
    ids, waiting = chat.open(messages[:start], TOOLS), []
    for message in messages[start:]:
        if message.role != "assistant":
            waiting.append(message)
            continue
        ids += chat.bridge(waiting, tools=TOOLS) if waiting else []
        ids += chat.render_turn(message)
        waiting = []
    return ids


def _wire(message: Message) -> dict[str, Any]:
    """A message in OpenAI's form."""
    calls = [{"type": "function", "function": {"name": m.name, "arguments": m.arguments}} for m in message.tool_calls]
    return {"role": message.role, "content": message.content, **({"tool_calls": calls} if calls else {})}
