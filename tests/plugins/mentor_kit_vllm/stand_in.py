"""A small server with vLLM's routes for RL, which samples with a policy of the torch backend.

Answers have the form of those that a vLLM 0.32 server gave: weights are labelled `default` until they get a label, an
unknown adapter is a 404 with vLLM's words, paused servers hold requests back. It loads what is pushed to it from files.
"""

from __future__ import annotations

import json
import sys
import threading
import time
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mentor_kit_torch.backend import TorchBackend
from mentor_kit_torch.options import TorchOptions

from mentor_kit.backend.policy import Policy
from mentor_kit.backend.sampling import Completion, SampleRequest
from mentor_kit.backend.student import AdapterSpec, StudentSpec

#: Models are loaded one after another: loading changes PyTorch's defaults for the whole process.
_LOADING = threading.Lock()


def load(folder: str, adapter: str | None = None) -> Policy:
    student = StudentSpec(folder, adapter=None if adapter is None else AdapterSpec(path=Path(adapter)))
    with _LOADING:
        return TorchBackend(TorchOptions(device="cpu", dtype="float32")).load(student, seed=0)


class StandIn:
    """A server of a model; `stop` and `start` make it one that knows nothing of what it was given."""

    def __init__(self, model: Path, *, context: int = 96, scale: float = 1.0) -> None:
        self.model, self.context, self.scale = str(model), context, scale
        self.port = 0
        self.asked: list[dict[str, Any]] = []
        self.pushes: list[str] = []
        self.delay = 0.0
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.policies: dict[str | None, Policy] = {None: load(self.model)}
        self.roots: dict[str, str] = {}
        self.label, self.paused, self.running = "default", False, 0
        self.aborted: set[str] = set()
        self.done: dict[str, Completion] = {}
        self.lock, self.changed = threading.RLock(), threading.Condition()
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.answer(None)

            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                self.answer(json.loads(self.rfile.read(length) or b"{}"))

            def answer(self, body: Any) -> None:
                url = urlsplit(self.path)
                status, found = stand_in.answer(url.path, url.query, body)
                if stand_in.stopped:
                    self.close_connection = True
                    return
                data = b"" if found is None else json.dumps(found).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, *_: Any) -> None:
                # clients that gave up leave broken pipes; anything else is a fault of a test
                if not isinstance(sys.exc_info()[1], OSError):
                    traceback.print_exc()

        self.stopped = False
        self._server = Server(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def stop(self) -> None:
        self.stopped = True
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str, query: str, body: Any) -> tuple[int, Any]:
        name = path.strip("/").replace("/", "_")
        method = getattr(self, f"on_{name}", None)
        return (404, {"detail": "Not Found"}) if method is None else method(query, body)

    def on_health(self, query: str, body: Any) -> tuple[int, Any]:
        return 200, None

    def on_v1_models(self, query: str, body: Any) -> tuple[int, Any]:
        base = {"id": self.model, "root": self.model, "parent": None, "max_model_len": self.context}
        more = [{"id": name, "root": root, "parent": self.model} for name, root in self.roots.items()]
        return 200, {"object": "list", "data": [base, *more]}

    def on_weight_info(self, query: str, body: Any) -> tuple[int, Any]:
        return 200, {"weight_version": self.label}

    def on_pause(self, query: str, body: Any) -> tuple[int, Any]:
        assert query == "mode=wait"
        with self.changed:
            self.paused = True
            self.changed.wait_for(lambda: not self.running, 30)
        return 200, {"status": "paused"}

    def on_resume(self, query: str, body: Any) -> tuple[int, Any]:
        with self.changed:
            self.paused = False
            self.changed.notify_all()
        return 200, {"status": "resumed"}

    def on_collective_rpc(self, query: str, body: Any) -> tuple[int, Any]:
        assert body["method"] == "reload_weights"
        assert self.paused
        self.pushes.append(body["kwargs"]["weights_path"])
        self.policies[None] = load(body["kwargs"]["weights_path"])
        return 200, {"results": [None]}

    def on_reset_prefix_cache(self, query: str, body: Any) -> tuple[int, Any]:
        return 200, {"success": True}

    def on_update_weight_version(self, query: str, body: Any) -> tuple[int, Any]:
        self.label = body["new_version"]
        return 200, {"success": True, "new_version": self.label}

    def on_v1_load_lora_adapter(self, query: str, body: Any) -> tuple[int, Any]:
        name, folder = body["lora_name"], body["lora_path"]
        if name in self.roots:
            return 400, {"error": {"message": f"The lora adapter '{name}' has already been loaded.", "code": 400}}
        self.pushes.append(folder)
        self.policies[name], self.roots[name] = load(self.model, folder), folder
        return 200, None

    def on_v1_unload_lora_adapter(self, query: str, body: Any) -> tuple[int, Any]:
        if self.roots.pop(body["lora_name"], None) is None:
            return 404, {"error": {"message": "The lora adapter cannot be found.", "code": 404}}
        del self.policies[body["lora_name"]]
        return 200, None

    def on_inference_v1_abort_requests(self, query: str, body: Any) -> tuple[int, Any]:
        self.aborted |= set(body["request_ids"])
        return 200, None

    def on_inference_v1_generate(self, query: str, body: Any) -> tuple[int, Any]:
        self.asked.append(body)
        with self.changed:
            self.changed.wait_for(lambda: not self.paused, 30)
            self.running += 1
        try:
            return self.generate(body)
        finally:
            with self.changed:
                self.running -= 1
                self.changed.notify_all()

    def generate(self, body: Any) -> tuple[int, Any]:
        policy = self.policies.get(body.get("model"))
        if policy is None:
            return 404, {"error": {"message": f"The model `{body['model']}` does not exist.", "code": 404}}
        time.sleep(self.delay)
        sampling = body["sampling_params"]
        assert (sampling["ignore_eos"], sampling["logprobs"], sampling["detokenize"]) == (True, 0, False)
        name, engine = f"generate-tokens-{body['request_id']}", policy.engine()
        request = SampleRequest(
            id=name,
            session=name,
            context=tuple(body["token_ids"]),
            temperature=sampling["temperature"],
            top_p=sampling["top_p"],
            top_k=sampling["top_k"],
            max_new_tokens=min(sampling["max_tokens"], self.context - len(body["token_ids"])),
            stop_ids=frozenset(sampling["stop_token_ids"]),
            seed=sampling["seed"],
        )
        with self.lock:
            engine.submit(request)
        while name not in self.done and not self.stopped:
            with self.lock:
                if name in self.aborted:
                    engine.cancel(name)
                self.done |= {one.id: one for one in engine.step()}
            time.sleep(0)
        if self.stopped:
            return 500, None
        with self.lock:
            engine.release(name)
        completion = self.done.pop(name)
        log_probs = [
            {"token_id": token, "logprob": self.scale * value}
            for token, value in zip(completion.ids, completion.log_probs, strict=True)
        ]
        finish = "abort" if completion.finish == "cancelled" else completion.finish
        choice = {
            "finish_reason": finish,
            "token_ids": list(completion.ids),
            "weight_versions": [{"version": self.label, "start": 0, "end": len(completion.ids)}],
            "logprobs": {"content": log_probs},
        }
        return 200, {"request_id": name, "choices": [choice]}
