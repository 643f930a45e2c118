import pytest
from chat_tokenizers import HERMES, QWEN3, make_format

from mentor_kit.chat import Transcript, demonstration_tokens
from mentor_kit.core.conversation import ToolResult, assistant, call, system, tool_result, user
from mentor_kit.core.errors import DataError
from mentor_kit.core.tool import Tool

TOOLS = {"add": Tool.declared("add", "Add.", {"type": "object", "properties": {}})}
CHAT = make_format(HERMES)
DIALOGUE = [
    system("S"),
    user("Q"),
    assistant("", reasoning="hm", calls=[call("add", a=1)]),
    tool_result(ToolResult(name="add", content="2")),
    assistant("It is 2."),
]


def test_a_transcript_keeps_what_was_sampled_and_what_was_inserted():
    transcript = Transcript([1, 2])
    assert (transcript.context, transcript.response_length) == ((1, 2), 0)
    transcript.sampled([3, 4], [-0.5, -0.25], 8)
    before = transcript.context
    transcript.inserted([5])
    transcript.sampled((6,), (-1.0,), 9)
    assert before == (1, 2, 3, 4)
    assert (transcript.context, transcript.response_length) == ((1, 2, 3, 4, 5, 6), 4)
    trace = transcript.trace(temperature=0.7)
    assert trace.prompt_ids == (1, 2)
    assert trace.ids == (3, 4, 5, 6)
    assert trace.mask == (1, 1, 0, 1)
    assert trace.log_probs == (-0.5, -0.25, 0.0, -1.0)
    assert trace.temperature == 0.7
    assert [(turn.start, turn.end, turn.version) for turn in trace.turns] == [(0, 2, 8), (3, 4, 9)]
    with pytest.raises(ValueError, match=r"\b1\b.*\b2\b"):
        transcript.sampled([1], [0.0, 0.0])


def test_a_demonstration_trains_the_assistants_turns_with_their_stop_tokens():
    trace = demonstration_tokens(CHAT, DIALOGUE, TOOLS)
    decode = CHAT.tokenizer.decode
    assert decode(trace.prompt_ids) == CHAT.tokenizer.inner.apply_chat_template(
        [{"role": "system", "content": "S"}, {"role": "user", "content": "Q"}],
        tools=[tool.schema for tool in TOOLS.values()],
        add_generation_prompt=True,
        tokenize=False,
    )
    turn = '<think>\nhm\n</think>\n\n<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call><|im_end|>'
    between = "\n<|im_start|>user\n<tool_response>\n2\n</tool_response><|im_end|>\n<|im_start|>assistant\n"
    assert decode(trace.ids) == turn + between + "It is 2.<|im_end|>"
    assert decode([token for token, on in zip(trace.ids, trace.mask, strict=True) if on]) == turn + "It is 2.<|im_end|>"
    assert decode([token for token, on in zip(trace.ids, trace.mask, strict=True) if not on]) == between
    assert set(trace.log_probs) == {0.0}
    assert trace.temperature == 1.0


def test_a_demonstration_is_token_for_token_the_episode_that_said_the_same():
    transcript = Transcript(CHAT.open(DIALOGUE[:2], TOOLS))
    for text, news in [(DIALOGUE[2], [DIALOGUE[3]]), (DIALOGUE[4], None)]:
        ids = CHAT.render_turn(text)
        transcript.sampled(ids, [0.0] * len(ids))
        if news:
            transcript.inserted(CHAT.bridge(news, tools=TOOLS))
    assert demonstration_tokens(CHAT, DIALOGUE, TOOLS) == transcript.trace(temperature=1.0)


def test_earlier_reasoning_stays_although_the_template_would_drop_it():
    chat = make_format(QWEN3)
    dialogue = [user("Q"), assistant("1", reasoning="first"), user("R"), assistant("2", reasoning="second")]
    text = chat.tokenizer.decode(demonstration_tokens(chat, dialogue, {}).ids)
    assert "first" in text
    assert "second" in text


def test_messages_after_the_last_turn_are_left_out():
    assert demonstration_tokens(CHAT, [*DIALOGUE, user("Thanks")], TOOLS) == demonstration_tokens(CHAT, DIALOGUE, TOOLS)


def test_turns_in_a_row_get_a_prompt_each():
    trace = demonstration_tokens(CHAT, [user("Q"), assistant("1"), assistant("2")], {})
    assert CHAT.tokenizer.decode(trace.ids) == "1<|im_end|>\n<|im_start|>assistant\n2<|im_end|>"


def test_a_dialogue_without_turns_is_refused():
    with pytest.raises(DataError, match="no assistant turn"):
        demonstration_tokens(CHAT, [user("Q")], {})
