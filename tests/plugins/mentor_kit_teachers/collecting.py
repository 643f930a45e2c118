"""A process that collects from a server until it is done, or killed: URL, folder and number of problems are given."""

import sys
from pathlib import Path

from doubling import shown, teacher

url, folder, count = sys.argv[1:]
asked = teacher(
    "openai",
    Path(folder),
    model="m",
    url=url,
    cache="answers.sqlite",
    attempts=2,
    concurrency=4,
    price={"input": 1.0, "output": 1.0},
)
print("ready", flush=True)
found = shown(asked, int(count))
print("\n".join(demonstration.to_json() for demonstration in found), flush=True)
