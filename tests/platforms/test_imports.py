"""Every module can be imported on every system: what a system lacks is asked for when it is needed."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

#: Imports all modules of our packages, and prints those that cannot be imported, with the reason.
WALK = """
import importlib, pkgutil, sys
import pretended
getattr(pretended, sys.argv[1])(*sys.argv[2].split())
assert sys.platform in ("win32", "darwin")
for package in sys.argv[3:]:
    found = importlib.import_module(package)
    for module in pkgutil.walk_packages(found.__path__, package + "."):
        # programs, and data that looks like modules
        if module.name.endswith("__main__") or ".shipped" in module.name or ".example" in module.name:
            continue
        try:
            importlib.import_module(module.name)
        except BaseException as error:
            # modules that derive from classes of a package that need not be there are imported where it is
            if getattr(error, "name", None) not in ("bitsandbytes", "verl"):
                print(f"{module.name}: {type(error).__name__}: {error}")
print("all")
"""
#: What they import at their top from elsewhere: those packages ask for the system.
LIBRARIES = (
    "torch transformers peft mlx.core mlx.nn mlx.optimizers mlx_lm.generate mlx_lm.tuner.utils pandas pytest "
    "transformers.models.auto transformers.models.llama.modeling_llama huggingface_hub.file_download "
    "torch.distributed torch.utils.checkpoint torch.utils.flop_counter safetensors.torch"
)


@pytest.mark.slow
@pytest.mark.parametrize("system", ["windows", "macos"])
def test_every_module_can_be_imported(system: str) -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    packages = [Path(name).name for name in project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]]
    arguments = [sys.executable, "-c", WALK, system, LIBRARIES, *packages]
    done = subprocess.run(arguments, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=240)
    assert done.stdout.splitlines() == ["all"], done.stdout + done.stderr[-2000:]
