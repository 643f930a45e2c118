"""A process that follows the first one of a run: `python -m mentor_kit_torch.follower`, started by that one."""

from __future__ import annotations

import sys

from mentor_kit.core.errors import MentorKitError
from mentor_kit_torch.distributed import serve


def main() -> int:
    """Follow the process that this one's environment names; the exit code."""
    try:
        serve(None)
    except MentorKitError as error:
        sys.stderr.write(f"error: {error}\n")
        return int(error.exit_code)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
