import json

import pytest
from page_helpers import write_page_run

from mentor_kit.report.page.tokenizer import tokenizer_folder
from mentor_kit.report.page.tokens import compact_tokens, read_vocabulary
from mentor_kit.runs import Run


@pytest.mark.parametrize(
    ("mask", "spans"),
    [([], [0]), ([1, 1], [2]), ([0, 0], [0, 2]), ([1, 0, 1], [1, 1, 1]), ([0, 1, 1, 0], [0, 1, 2, 1])],
)
def test_spans_alternate_from_sampled_to_inserted(mask, spans):
    trace = {"ids": [7] * len(mask), "mask": mask, "log_probs": [-0.25] * len(mask), "temperature": 0.5}
    found = compact_tokens(trace)
    assert found["spans"] == spans
    assert found["nats"] == [250] * sum(mask)
    assert found["temperature"] == 0.5


def write_tokenizer(folder, **content):
    (folder / "tokenizer.json").write_text(json.dumps(content))
    return folder


def test_bytes_of_a_byte_level_vocabulary(tmp_path):
    vocab = {"Ġhi": 0, "Ċ": 1, "Ã©": 2, "Ã": 3, "a": 4}
    folder = write_tokenizer(tmp_path, model={"vocab": vocab}, decoder={"type": "ByteLevel"})
    assert read_vocabulary(folder) == {"0": " hi", "1": "\n", "2": "é", "3": "\ufffd", "4": "a"}
    assert read_vocabulary(folder, {2, 9}) == {"2": "é"}


def test_pieces_with_marks_for_spaces(tmp_path):
    folder = write_tokenizer(
        tmp_path, model={"vocab": [["<s>", 0.0], ["▁the", -1.0]]}, added_tokens=[{"id": 2, "content": "<e>"}]
    )
    assert read_vocabulary(folder) == {"0": "<s>", "1": " the", "2": "<e>"}


@pytest.mark.parametrize("content", ["", "[]", '{"model": 3}', '{"model": {"vocab": [1]}}'])
def test_a_tokenizer_of_another_kind_gives_no_strings(tmp_path, content):
    (tmp_path / "tokenizer.json").write_text(content)
    assert read_vocabulary(tmp_path) == {}


def test_no_tokenizer_gives_no_strings():
    assert read_vocabulary(None) == {}


def test_the_tokenizer_of_a_run_that_has_no_student_yet(tmp_path):
    folder = write_page_run(tmp_path)
    assert tokenizer_folder(Run(folder)) == folder / "student"
    (folder / "student" / "tokenizer.json").unlink()
    found = tokenizer_folder(Run(folder))
    # the recipe names a plugin's student
    assert found is not None
    assert "<|im_end|>" in read_vocabulary(found).values()


@pytest.mark.parametrize("model", ["nobody/nothing", "no-such-student"])
def test_a_model_that_is_not_on_this_machine(tmp_path, monkeypatch, model):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    folder = write_page_run(tmp_path)
    (folder / "student" / "tokenizer.json").unlink()
    (folder / "recipe.yaml").write_text(f"name: small\nstudent: {{model: {model}}}\n")
    assert tokenizer_folder(Run(folder)) is None


def test_a_model_of_the_hub_that_was_downloaded_before(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    snapshot = tmp_path / "hub" / "models--owner--name" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    write_tokenizer(snapshot, model={"vocab": {"a": 0}})
    folder = write_page_run(tmp_path)
    (folder / "student" / "tokenizer.json").unlink()
    (folder / "recipe.yaml").write_text("name: small\nstudent: owner/name\n")
    assert tokenizer_folder(Run(folder)) == snapshot
