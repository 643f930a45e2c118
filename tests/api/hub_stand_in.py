"""A server on this machine in the place of the Hugging Face Hub, which checks every request against its protocol.

The protocol is that of the hub's HTTP interface for models, as huggingface_hub and git-lfs use it:

    GET  /api/whoami-v2                            who the token is
    GET  /api/models/OWNER/NAME                    private, files; 404 with X-Error-Code: RepoNotFound
    POST /api/repos/create                         409 if it exists, 403 for another's name
    POST /api/validate-yaml                        400 with the errors of a card
    POST /api/models/OWNER/NAME/preupload/main     for each file, whether it is large
    POST /OWNER/NAME.git/info/lfs/objects/batch    where large files go
    PUT  /storage/OID                              a large file
    POST /api/models/OWNER/NAME/commit/main        lines of JSON: a header, files, large files by hash, deletions
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from ruamel.yaml import YAML

WRITE, READ = "hf_write", "hf_read"
#: Values of metadata that the hub takes for ids of models.
HUB_ID = re.compile(r"[\w][\w.-]*/[\w][\w.-]*", re.ASCII)


@dataclass
class Repository:
    """A model's repository: its files at the last commit."""

    private: bool = False
    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[str] = field(default_factory=list)


class HubStandIn(ThreadingHTTPServer):
    """The server; `repositories` is what is on it, `faults` what was wrong with requests, `requests` their paths."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, Repository] = {}
        self.stored: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.faults: list[str] = []
        self.failing: dict[str, int] = {}
        """Statuses to answer with, by the end of a path."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def hub_stand_in() -> Iterator[HubStandIn]:
    """The server while the block runs; it must have had nothing to find fault with."""
    with HubStandIn() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
    assert server.faults == []


class _Handler(BaseHTTPRequestHandler):
    server: HubStandIn
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._respond()

    def do_POST(self) -> None:
        self._respond()

    def do_PUT(self) -> None:
        self._respond()

    def _respond(self) -> None:
        body = self._body()
        self.server.requests.append(f"{self.command} {self.path}")
        for end, status in self.server.failing.items():
            if self.path.endswith(end):
                return self._send(status, {"error": f"failing on purpose with {status}"})
        if self.command == "PUT":
            return self._store(body)
        if self._token() not in (WRITE, READ):
            return self._send(401, {"error": "Invalid username or password."})
        model = re.fullmatch(r"/api/models/([^/]+/[^/]+?)(/preupload/main|/commit/main)?", self.path)
        lfs = re.fullmatch(r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", self.path)
        if self.path == "/api/whoami-v2":
            role = "write" if self._token() == WRITE else "read"
            token = {"displayName": "my token", "role": role}
            return self._send(200, {"name": "me", "type": "user", "auth": {"accessToken": token}})
        if self.path == "/api/repos/create":
            return self._create(self._json(body))
        if self.path == "/api/validate-yaml":
            return self._validate(self._json(body))
        if lfs is not None:
            return self._batch(lfs[1], self._json(body))
        if model is None:
            return self._fault(f"no such address: {self.command} {self.path}")
        if (found := self.server.repositories.get(model[1])) is None:
            return self._send(404, {"error": "Repository not found"}, **{"X-Error-Code": "RepoNotFound"})
        if model[2] == "/preupload/main":
            return self._preupload(self._json(body))
        if model[2] == "/commit/main":
            return self._commit(found, model[1], body)
        siblings = [{"rfilename": name} for name in sorted(found.files)]
        self._send(200, {"_id": "1", "id": model[1], "private": found.private, "siblings": siblings, "tags": []})

    def _create(self, asked: dict[str, Any]) -> None:
        self._expect(set(asked) <= {"name", "organization", "visibility", "type"}, f"unknown keys in {asked}")
        self._expect(asked.get("type") in (None, "model"), f"type {asked.get('type')}")
        self._expect(asked.get("visibility") in (None, "private", "public"), f"visibility {asked.get('visibility')}")
        name = f"{asked['organization']}/{asked['name']}"
        if asked["organization"] != "me":
            return self._send(403, {"error": f'You don\'t have the rights to create a model under "{name}"'})
        if name in self.server.repositories:
            url = f"{self.server.url}/{name}"
            return self._send(409, {"error": "You already created this model repo", "url": url})
        self.server.repositories[name] = Repository(private=asked.get("visibility") == "private")
        self.server.repositories[name].files[".gitattributes"] = b""
        self._send(200, {"url": f"{self.server.url}/{name}", "name": name})

    def _validate(self, asked: dict[str, Any]) -> None:
        """As the hub does: a base model is the id of a model, a result names its task, data set and metric."""
        self._expect(asked["repoType"] == "model", "the card of another kind of repository")
        data = YAML(typ="safe").load(asked["content"].split("---\n")[1])
        errors = []
        bases = data.get("base_model", [])
        for base in [bases] if isinstance(bases, str) else bases:
            if not HUB_ID.fullmatch(base):
                errors.append(
                    f'"base_model" with value "{base}" is not valid. Use a model id from https://hf.co/models.'
                )
        for model in data.get("model-index", []):
            for result in model["results"]:
                if not re.fullmatch(r"([\w-]+/)?[\w.-]+", result["dataset"]["type"]):
                    errors.append('"model-index[0].results[0].dataset.type" fails to match the required pattern')
                self._expect(
                    bool(result["task"]["type"] and result["dataset"]["name"]), f"a result without names: {result}"
                )
                self._expect(all("type" in m and "value" in m for m in result["metrics"]), f"metrics of {result}")
        answer = {"errors": [{"message": text} for text in errors], "warnings": []}
        self._send(400 if errors else 200, answer)

    def _preupload(self, asked: dict[str, Any]) -> None:
        files = []
        for file in asked["files"]:
            self._expect(set(file) == {"path", "sample", "size"}, f"keys of {file}")
            sample = base64.b64decode(file["sample"], validate=True)
            self._expect(len(sample) == min(512, file["size"]), f"the sample of {file['path']} has {len(sample)} bytes")
            mode = "lfs" if file["path"].endswith((".safetensors", ".gguf")) else "regular"
            files.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": None})
        self._send(200, {"files": files, "commitOid": "0" * 40})

    def _batch(self, name: str, asked: dict[str, Any]) -> None:
        kind = "application/vnd.git-lfs+json"
        self._expect(self.headers["Accept"] == kind and self.headers["Content-Type"] == kind, "headers of git-lfs")
        self._expect(asked["operation"] == "upload" and asked["hash_algo"] == "sha256", f"operation of {asked}")
        self._expect("basic" in asked["transfers"] and name in self.server.repositories, f"transfers of {asked}")
        objects = []
        for item in asked["objects"]:
            upload = {"href": f"{self.server.url}/storage/{item['oid']}", "header": {}}
            objects.append({**item, "authenticated": True, "actions": {"upload": upload}})
        self._send(200, {"transfer": "basic", "objects": objects})

    def _store(self, body: bytes) -> None:
        oid = self.path.rpartition("/")[2]
        self._expect(hashlib.sha256(body).hexdigest() == oid, f"what was stored as {oid} is something else")
        self.server.stored[oid] = body
        self._send(200, {})

    def _commit(self, repository: Repository, name: str, body: bytes) -> None:
        self._expect(self.headers["Content-Type"] == "application/x-ndjson", "type of a commit")
        if self._token() != WRITE:
            return self._send(403, {"error": "Forbidden: pass `create_pr=1` to open a pull request"})
        first, *lines = [json.loads(line) for line in body.splitlines()]
        self._expect(first["key"] == "header" and bool(first["value"]["summary"]), f"header {first}")
        for line in lines:
            key, value = line["key"], line["value"]
            if key == "file":
                self._expect(value["encoding"] == "base64", f"encoding of {value['path']}")
                repository.files[value["path"]] = base64.b64decode(value["content"], validate=True)
            elif key == "lfsFile":
                content = self.server.stored.get(value["oid"], b"")
                self._expect(len(content) == value["size"] and value["algo"] == "sha256", f"large file {value}")
                repository.files[value["path"]] = content
            elif key == "deletedFile":
                self._expect(
                    repository.files.pop(value["path"], None) is not None, f"no file {value['path']} to delete"
                )
            else:
                self._fault(f"an operation {key!r}")
        repository.commits.append(hashlib.sha1(body).hexdigest())
        url = f"{self.server.url}/{name}/commit/{repository.commits[-1]}"
        self._send(200, {"success": True, "commitOid": repository.commits[-1], "commitUrl": url, "hookOutput": ""})

    def _token(self) -> str:
        return (self.headers["Authorization"] or "").removeprefix("Bearer ")

    def _json(self, body: bytes) -> dict[str, Any]:
        self._expect("json" in (self.headers["Content-Type"] or ""), f"type of {self.path}")
        found = json.loads(body)
        return found if isinstance(found, dict) else {}

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers["Content-Length"] or 0))
        found = b""
        while size := int(self.rfile.readline(), 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return found

    def _expect(self, holds: bool, what: str) -> None:
        if not holds:
            self.server.faults.append(f"{self.command} {self.path}: {what}")

    def _fault(self, what: str) -> None:
        self.server.faults.append(what)
        self._send(500, {"error": what})

    def _send(self, status: int, data: Any, **headers: str) -> None:
        payload = json.dumps(data).encode()
        self.send_response(status)
        for key, value in {"Content-Type": "application/json", "Content-Length": str(len(payload)), **headers}.items():
            self.send_header(key, value)
        if status >= 400 and isinstance(data, dict) and "error" in data:
            self.send_header("X-Error-Message", data["error"])
        self.end_headers()
        self.wfile.write(payload)
