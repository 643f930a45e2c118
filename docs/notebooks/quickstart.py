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
# # The quickstart, in a notebook
#
# A tiny student learns to use mathematical tools: a minute of training on a CPU, then a look at what it learned. The
# student comes along (0.8 M parameters); only Python packages are downloaded. [Recipes](../recipes.md) has every key of
# what runs here, [rewards](../rewards.md) what is paid.

# %%
# %pip install --quiet "mentor-kit[torch,report] @ git+https://github.com/mentor-kit/mentor-kit"

# %% [markdown]
# ## The recipe
#
# A recipe names a student, a task, tools, a teacher and a reward. This one comes along; `check` finds mistakes, and
# `overrides` changes a recipe without editing it.

# %%
import os

import mentor_kit
from mentor_kit import api
from mentor_kit.hooks import Tracker

STEPS = int(os.environ.get("STEPS", "24"))  # 24 are the quickstart's own
PROBLEMS = int(os.environ.get("PROBLEMS", "100"))  # of each evaluation
overrides = {"train.0.steps": STEPS, "evaluate.on.0.problems": PROBLEMS, "evaluate.on.1.problems": PROBLEMS}

recipe = mentor_kit.check("quickstart", overrides=overrides).recipe
print(f"student {recipe.student.model}, task {recipe.task.use}, teacher {recipe.teacher.use}")

# %% [markdown]
# ## A problem, and the teacher's work
#
# `preview` runs the teacher on a few problems, with the real tools, and loads no weights.

# %%
preview = api.preview("quickstart", problems=1)
print(preview.problems[0].question)

# %% [markdown]
# ## Training
#
# A run calls its trackers while it trains: here, one that prints every fourth step. On two cores this takes about a
# minute.


# %%
class Progress(Tracker):
    """Prints the reward and the share of right answers of every fourth step."""

    def progress(self, stage, done, total, values):
        if "reward" in values and done % 4 == 0:
            print(f"step {done} of {total}: reward {values['reward']:.2f}, right {values['accuracy']:.0%}")


run = mentor_kit.run("quickstart", overrides=overrides, trackers=[Progress()])
print(run.path)

# %% [markdown]
# ## Before and after
#
# Accuracy with its 95 % interval, on problems like those of training, and out of domain: other wordings and longer
# chains.

# %%
for report in run.evaluations:
    greedy = report["greedy"]
    interval = f"[{greedy['low']:.1%}, {greedy['high']:.1%}]"
    print(f"step {report['step']:3}  {report['split']:14}  {greedy['accuracy']:6.1%}  {interval}")

# %% [markdown]
# Every step's metrics are a data frame.

# %%
print(run.metrics[["step", "reward", "accuracy", "similarity", "response_tokens"]].tail())

# %%
axes = run.metrics.plot(x="step", y=["reward", "accuracy", "similarity"], grid=True)

# %% [markdown]
# ## A rollout
#
# The rollout that earned most in the last step, turn by turn, with its reward by term.

# %%
scored = max(run.rollouts(), key=lambda scored: (scored.trajectory.correct or False, scored.reward.total))
for message in scored.trajectory.messages:
    print(f"{message.role}: {message.content}", *(f"{call.name}({call.arguments})" for call in message.tool_calls))
for name, term in scored.reward.terms.items():
    print(f"{name}: {term.value:.2f}")

# %% [markdown]
# ## Talk to the student


# %%
def show(event):
    """Print the tools' results and the answer."""
    if event.kind == "result":
        print(f"{event.call.name}({event.call.arguments}) gives {event.result.content}")
    if event.kind == "answer":
        print(event.message.content)


with api.chat(run, show) as chat:
    chat.ask("Start with 37. Take it to the power 3. What is the result?")

# %% [markdown]
# ## Another reward
#
# What the sparse reward would have paid for the same rollouts: nothing is sampled again.

# %%
print(api.rescore(run, rewards=["sparse"]).text(100))

# %% [markdown]
# ## The run's page
#
# One file that opens without a network: every rollout beside the teacher's demonstration. In a notebook,
# `IPython.display.IFrame("quickstart.html", 1000, 700)` shows it in place.

# %%
page = api.report(run, "quickstart.html")
print(page.path)
