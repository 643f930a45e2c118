"""An MCP server over stdio that lists what it is told to: `python odd_tool_server.py PAGES`.

PAGES is a JSON list of results of `tools/list`, by number of the request; the last one is given for ever. The list has
no checks of the kind that libraries for servers have, as servers in the wild have none.
"""

from __future__ import annotations

import json
import sys

pages, asked = json.loads(sys.argv[1]), 0
for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message:
        continue
    method, result = message["method"], {}
    if method == "initialize":
        version = message["params"]["protocolVersion"]
        result = {
            "protocolVersion": version,
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "odd", "version": "1"},
        }
    elif method == "tools/list":
        result = pages[min(asked, len(pages) - 1)]
        if result.get("nextCursor") == "always new":
            result = {**result, "nextCursor": str(asked)}
        asked += 1
    elif method == "tools/call":
        result = {"content": [{"type": "text", "text": message["params"]["name"]}]}
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}) + "\n")
    sys.stdout.flush()
