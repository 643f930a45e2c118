"""Each case in a process of its own, whose limits are set before."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

CODE = """
import resource
from mentor_kit.utils.open_files import allow_open_files
allow_open_files({count})
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(
    ("soft", "hard", "count", "expected"),
    [(256, 1024, 512, 512), (256, 400, 512, 400), (600, 1024, 512, 600), (256, 256, 512, 256)],
    ids=["raised", "as far as it may be", "not lowered", "not at all"],
)
def test_the_limit_is_raised_as_far_as_it_may_be(soft: int, hard: int, count: int, expected: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(count=count)],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard)),
    )
    assert done.stdout.split() == [str(expected), str(hard)], done.stderr
