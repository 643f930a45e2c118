"""Cards are made from runs that are written by hand, as those of reports are."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))
