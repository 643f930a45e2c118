"""Stand-ins for tracking servers: they answer what the trackers' packages ask, hang, or die."""

from __future__ import annotations

import gzip
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Json = dict[str, Any]


def free_port() -> int:
    """A port that nobody uses."""
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@contextmanager
def hanging_server() -> Iterator[str]:
    """A server that takes connections and never answers; its URL."""
    with closing(socket.socket()) as server:
        server.bind(("127.0.0.1", 0))
        server.listen(64)
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


class JsonServer:
    """A server on this machine that answers requests with JSON; a context manager.

    Args:
        port: its own; any that is free if left out.
    """

    def __init__(self, port: int = 0) -> None:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                url = urlsplit(self.path)
                query = {key: values[0] for key, values in parse_qs(url.query).items()}
                with outer.lock:
                    code, answer = outer.answer(url.path, query | _json(body))
                self.send_response(code)
                self.send_header("content-type", "application/json")
                self.end_headers()
                self.wfile.write(json.dumps(answer).encode())

            do_GET = do_PUT = do_PATCH = do_POST

            def log_message(self, *_: object) -> None:
                pass

        self.lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def answer(self, path: str, body: Json) -> tuple[int, Json]:
        """The status and the JSON for a request."""
        raise NotImplementedError

    def die(self) -> None:
        """Answer no more: the port is closed."""
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> Any:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.die()


def _json(body: bytes) -> Json:
    """The JSON of a request; nothing for an uploaded file."""
    try:
        found: Json = json.loads(body or b"{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


#: The user of the stand-in for Weights & Biases.
_ME = {"id": "1", "name": "me"}


class WandbServer(JsonServer):
    """As much of a Weights & Biases server as a run without files needs."""

    def __init__(self) -> None:
        super().__init__()
        self.files: dict[str, dict[str, list[Json]]] = {}
        """The lines of each run's files, such as `wandb-history.jsonl`."""
        self.upserted: list[Json] = []
        """The variables of every mutation that makes or changes a run."""
        self.exit_codes: list[int] = []
        self.dies = False
        """Whether it dies once a run has begun."""

    def history(self, run: str) -> list[Json]:
        return self.files.get(run, {}).get("wandb-history.jsonl", [])

    def answer(self, path: str, body: Json) -> tuple[int, Json]:
        if path.endswith("/file_stream"):
            self._stream(path.split("/")[-2], body)
            return 200, {}
        if path.startswith("/upload/"):
            return 200, {}
        variables = body.get("variables") or {}
        method = getattr(self, f"_{body.get('operationName')}", None)
        return 200, {"data": {} if method is None else method(variables)}

    def _Viewer(self, _: Json) -> Json:
        return {"viewer": {"id": "1", "entity": "me", "username": "me", "flags": "{}", "teams": {"edges": []}}}

    def _RunResumeStatus(self, variables: Json) -> Json:
        return {"model": {"id": "1", "name": "p", "entity": _ME, "bucket": self._bucket(variables["name"])}}

    def _UpsertBucket(self, variables: Json) -> Json:
        self.upserted.append(variables)
        if self.dies and len(self.upserted) == 2:
            threading.Thread(target=self.die).start()
        name = variables["name"] or self.upserted[0]["name"]
        is_new = name not in self.files
        self.files.setdefault(name, {})
        project = {"id": "1", "name": "p", "entity": _ME}
        bucket = {"id": "1", "name": name, "displayName": name, "config": "{}", "sweepName": None, "project": project}
        bucket["historyLineCount"] = len(self.history(name))
        return {"upsertBucket": {"bucket": bucket, "inserted": is_new}}

    def _CreateRunFiles(self, variables: Json) -> Json:
        files = [{"name": name, "uploadUrl": f"{self.url}/upload/{name}"} for name in variables["files"]]
        return {"createRunFiles": {"runID": "1", "uploadHeaders": [], "files": files}}

    def _bucket(self, run: str) -> Json | None:
        """What is known of a run, for those that continue it."""
        if run not in self.files:
            return None
        history = self.history(run)
        tails = {"historyTail": json.dumps([json.dumps(line) for line in history[-1:]]), "eventsTail": "[]"}
        counts = {"logLineCount": 0, "historyLineCount": len(history), "eventsLineCount": 0}
        summary = json.dumps(history[-1] if history else {})
        rest = {"config": "{}", "tags": [], "notes": None, "wandbConfig": '{"t": 1}'}
        return {"id": "1", "name": run, "displayName": run, "summaryMetrics": summary, **counts, **tails, **rest}

    def _stream(self, run: str, body: Json) -> None:
        for name, part in (body.get("files") or {}).items():
            if name.endswith(".jsonl"):
                lines = self.files.setdefault(run, {}).setdefault(name, [])
                lines[part["offset"] : part["offset"] + len(part["content"])] = map(json.loads, part["content"])
        if body.get("exitcode") is not None and body.get("complete"):
            self.exit_codes.append(body["exitcode"])


class MlflowServer(JsonServer):
    """As much of an MLflow tracking server as a run needs; artifacts go to a folder."""

    def __init__(self, artifacts: str, port: int = 0) -> None:
        super().__init__(port)
        self.artifacts = artifacts
        self.experiments: dict[str, str] = {}
        self.runs: dict[str, Json] = {}
        self.die_after: int | None = None
        """The step of `grpo` whose metrics are the last that are taken."""

    def answer(self, path: str, body: Json) -> tuple[int, Json]:
        method = getattr(self, "_" + path.partition("/mlflow/")[2].replace("/", "_").replace("-", "_"), None)
        return (404, {"error_code": "ENDPOINT_NOT_FOUND", "message": path}) if method is None else method(body)

    def curve(self, run: str, name: str) -> list[tuple[int, float]]:
        return [(int(found["step"]), found["value"]) for found in self.runs[run]["metrics"] if found["key"] == name]

    def _experiments_get_by_name(self, body: Json) -> tuple[int, Json]:
        name = body["experiment_name"]
        if name not in self.experiments:
            return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": name}
        return 200, {"experiment": {"experiment_id": self.experiments[name], "name": name, "lifecycle_stage": "active"}}

    def _experiments_create(self, body: Json) -> tuple[int, Json]:
        self.experiments[body["name"]] = str(len(self.experiments) + 1)
        return 200, {"experiment_id": self.experiments[body["name"]]}

    def _runs_create(self, body: Json) -> tuple[int, Json]:
        name = f"run{len(self.runs)}"
        tags = {tag["key"]: tag["value"] for tag in body["tags"]}
        self.runs[name] = {"body": body, "status": "RUNNING", "metrics": [], "params": {}, "tags": tags}
        return 200, {"run": self._run(name)}

    def _runs_search(self, body: Json) -> tuple[int, Json]:
        wanted = body["filter"].partition("'")[2].rstrip("'")
        return 200, {"runs": [self._run(name) for name, run in self.runs.items() if wanted in run["tags"].values()]}

    def _runs_get(self, body: Json) -> tuple[int, Json]:
        return 200, {"run": self._run(body["run_id"])}

    def _runs_update(self, body: Json) -> tuple[int, Json]:
        self.runs[body["run_id"]]["status"] = body["status"]
        return 200, {"run_info": self._run(body["run_id"])["info"]}

    def _runs_set_tag(self, body: Json) -> tuple[int, Json]:
        self.runs[body["run_id"]]["tags"][body["key"]] = body["value"]
        return 200, {}

    def _runs_log_batch(self, body: Json) -> tuple[int, Json]:
        run = self.runs[body["run_id"]]
        run["metrics"] += body.get("metrics", [])
        run["params"] |= {found["key"]: found["value"] for found in body.get("params", [])}
        sent = [(found["key"], int(found["step"])) for found in body.get("metrics", [])]
        if ("grpo/reward", self.die_after) in sent:
            # not in this thread, which the server waits for
            threading.Thread(target=self.die).start()
        return 200, {}

    def _run(self, name: str) -> Json:
        run = self.runs[name]
        info = {
            "run_id": name,
            "run_uuid": name,
            "experiment_id": run["body"]["experiment_id"],
            "status": run["status"],
        }
        info |= {"artifact_uri": f"{self.artifacts}/{name}", "lifecycle_stage": "active"}
        info["run_name"] = run["body"].get("run_name", "")
        return {"info": info, "data": {"tags": [{"key": key, "value": value} for key, value in run["tags"].items()]}}
