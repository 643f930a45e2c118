"""How many GPUs of NVIDIA's the driver has, asked with nothing but Python: before anything is installed for them.

python benchmarks/gpus.py            # ends with 3, and a message, where there is none
"""

from __future__ import annotations

import ctypes
import sys

NEEDED = "no NVIDIA GPU with its driver is found here, and these checks need one; `make test` checks all else"


def gpus() -> int:
    """How many GPUs the driver has; 0 where there is no driver."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    return count.value if driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 else 0


if __name__ == "__main__" and not gpus():
    print(NEEDED, file=sys.stderr)
    sys.exit(3)
