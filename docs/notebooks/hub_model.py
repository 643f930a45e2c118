# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A model of the hub, on a free GPU
#
# Qwen3-0.6B learns to use tools of your own with an adapter (LoRA), on a GPU with 16 GB such as the T4 that Colab and
# Kaggle lend. Choose a GPU in the notebook's settings first. [The tutorial](../tutorial.md) works in a terminal.

# %%
# %pip install --quiet "mentor-kit[torch,report] @ git+https://github.com/mentor-kit/mentor-kit"

# %%
import json
import os
import random
from pathlib import Path

import mentor_kit
from mentor_kit import api

STUDENT = os.environ.get("STUDENT", "Qwen/Qwen3-0.6B")  # a hub id, a folder, or `tiny-student`
STEPS = int(os.environ.get("STEPS", "40"))
PROBLEMS = int(os.environ.get("PROBLEMS", "50"))  # of each evaluation

for check in api.check_machine():
    print("ok  " if check.ok else "MISS", check.name, check.detail)

# %% [markdown]
# ## Tools
#
# Typed Python functions in a module. The student reads names, types and docstrings; worker processes run the code.

# %%
_ = Path("shop_tools.py").write_text(
    '''"""Tools of a shop."""

PRICES = {"lamp": 24.5, "chair": 79.0, "desk": 189.0, "shelf": 45.5, "rug": 112.0, "clock": 18.5}


def price(item: str) -> float:
    """The price of an item in euros.

    Args:
        item: the item's name, in the singular.
    """
    return PRICES[item]


def total(price: float, count: int) -> float:
    """The price of several pieces in euros.

    Args:
        price: the price of one.
        count: how many.
    """
    return price * count
'''
)

# %% [markdown]
# ## Questions
#
# A row has a question, the right answer, and the calls that lead to it. The teacher makes these calls with the tools.
# The clock and the rug are in no training question.

# %%
PRICES = {"lamp": 24.5, "chair": 79.0, "desk": 189.0, "shelf": 45.5, "rug": 112.0, "clock": 18.5}
ITEMS = {"train": ["lamp", "chair", "desk", "shelf"], "test": ["rug", "clock"]}

dice = random.Random(0)
for split, items in ITEMS.items():
    with Path(f"shop_{split}.jsonl").open("w") as file:
        for _ in range(200 if split == "train" else 50):
            item, count = dice.choice(items), dice.randint(2, 12)
            row = {
                "question": f"What do {count} pieces of the item {item} cost, in euros?",
                "answer": PRICES[item] * count,
                "calls": [
                    {"name": "price", "arguments": {"item": item}},
                    {"name": "total", "arguments": {"price": PRICES[item], "count": count}},
                ],
            }
            file.write(json.dumps(row) + "\n")

# %% [markdown]
# ## The recipe
#
# A recipe can be a mapping. `check` names every mistake, `plan` tells memory, and `preview` shows problems.

# %%
recipe = {
    "mentorkit": 1,
    "name": "shop",
    "student": {"model": STUDENT, "adapter": "lora", "template_variables": {"enable_thinking": False}},
    "task": {
        "use": "rows",
        "with": {
            "files": {"train": "shop_train.jsonl", "out-of-domain": "shop_test.jsonl"},
            "columns": {"calls": "calls"},
            "check": "number",
        },
    },
    "tools": [{"use": "python", "with": {"module": "shop_tools"}}],
    "teacher": "scripted",
    "reward": "mentor",
    "rollout": {
        "max_turns": 4,
        "max_turn_tokens": 96,
        "max_response_tokens": 384,
        "system": "Use the tools. Give the final answer as \\boxed{number}.",
    },
    "train": [
        {"use": "grpo", "with": {"steps": STEPS, "problems": 4, "group": 8, "optimizer": {"use": "adamw", "lr": 1e-4}}}
    ],
    "evaluate": {"every": 20, "on": [{"split": "out-of-domain", "problems": PROBLEMS}]},
}
checked = mentor_kit.check(recipe)

# %%
print(api.plan(recipe).text())

# %%
preview = api.preview(recipe, problems=1)
print(preview.problems[0].question)

# %% [markdown]
# ## Training

# %%
run = mentor_kit.run(recipe)

# %%
for report in run.evaluations:
    greedy = report["greedy"]
    print(f"step {report['step']:3}  {greedy['accuracy']:6.1%}  [{greedy['low']:.1%}, {greedy['high']:.1%}]")

# %% [markdown]
# Where accuracy stays at 0 and no tool is called, put a stage `{"use": "sft", "with": {"steps": 20}}` before `grpo`: it
# imitates the teacher first. [What goes wrong in training](../troubleshooting.md) has more.

# %%
page = api.report(run, "shop.html")
print(page.path)

# %% [markdown]
# ## Take it along
#
# The exported folder is loaded by transformers, vLLM and others; its card says how.

# %%
print(api.export(run, "shop-student"))
