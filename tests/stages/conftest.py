"""The stages' stand-ins build on those of the rollouts."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "rollout"))
