"""A plugin of pytest, `-p on_macos`: the tests run on macOS, as far as it is pretended."""

import pretended

pretended.macos("asyncio", "multiprocessing.connection", "numpy", "pydantic")
