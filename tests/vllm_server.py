"""A real HTTP server in the shapes of vLLM 0.32, with a tiny real model behind it, so that its log-probs are real."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

from rlhf_core.inference.engines.native import NativeDecoder
from rlhf_core.inference.sequence import SamplingParams, TokenMeaning, TokenSequence
from rlhf_core.models.backbone import Backbone
from rlhf_core.models.batching import make_batch
from rlhf_core.models.logprobs import response_logprobs

Body = dict[str, Any]


class Asked(NamedTuple):
    path: str
    body: Body
    key: str


class Answer(NamedTuple):
    status: int
    body: Any


def refusal(status: int, message: str) -> Answer:
    return Answer(status, {"error": {"message": message, "type": "x", "param": None, "code": status}})


class TinyVllm:
    """What a server of one base model knows: adapters by name. `fails` answers instead, where it returns something.

    It draws by our own decode loop from a row's seed, so that it writes what this process would.
    """

    def __init__(self, backbone: Backbone, name: str = "/models/tiny", lora: bool = True, processed: bool = True):
        self.backbone, self.name, self.lora, self.processed = backbone, name, lora, processed
        self.loaded: dict[str, str] = {}
        self.asked: list[Asked] = []
        self.fails: Callable[[Asked], Answer | None] = lambda _: None
        self.address = ""
        self._lock = threading.Lock()

    def restart(self) -> None:
        """Forget all adapters, as a new process does."""
        with self._lock:
            for name in self.loaded:
                self.backbone.adapters.delete(name)
            self.loaded.clear()

    def of(self, path: str) -> list[Asked]:
        """The requests to a path, in their order."""
        return [asked for asked in self.asked if asked.path == f"/v1/{path}"]

    def answer(self, asked: Asked) -> Answer:
        with self._lock:
            self.asked.append(asked)
            if (failure := self.fails(asked)) is not None:
                return failure
            doing = {
                "/v1/models": self._models,
                "/v1/completions": self._complete,
                **({"/v1/load_lora_adapter": self._load, "/v1/unload_lora_adapter": self._unload} if self.lora else {}),
            }
            found = doing.get(asked.path)
            return found(asked.body) if found else Answer(404, {"detail": "Not Found"})

    def _models(self, _: Body) -> Answer:
        base = {"id": self.name, "object": "model", "parent": None, "max_model_len": self.backbone.max_length}
        adapters = [{"id": name, "object": "model", "parent": self.name} for name in self.loaded]
        return Answer(200, {"object": "list", "data": [base, *adapters]})

    def _load(self, body: Body) -> Answer:
        name, folder = body["lora_name"], Path(body["lora_path"])
        if name in self.loaded:
            return refusal(400, f"The lora adapter '{name}' has already been loaded. If you want to load the adapter")
        if not (folder / "adapter_config.json").is_file():
            return refusal(404, f"Loading lora {name} failed: No adapter found for {folder}")
        self.backbone.adapters.load(name, folder)
        self.loaded[name] = str(folder)
        return Answer(200, f"Success: LoRA adapter '{name}' added successfully.")

    def _unload(self, body: Body) -> Answer:
        if self.loaded.pop(body["lora_name"], None) is None:
            return refusal(404, f"The lora adapter '{body['lora_name']}' cannot be found.")
        self.backbone.adapters.delete(body["lora_name"])
        return Answer(200, "Success")

    def _complete(self, body: Body) -> Answer:
        model, salt = body["model"], body.get("cache_salt", "")
        if len(salt) > 128 or set(salt) & set("@/\\\0"):
            return refusal(400, "Parameter 'cache_salt' must be at most 128 characters and must not contain '@', '/'")
        if model != self.name and model not in self.loaded:
            return refusal(404, f"The model `{model}` does not exist.")
        with self.backbone.adapters.using(None if model == self.name else model):
            params = SamplingParams.model_construct(temperature=body["temperature"], max_tokens=body["max_tokens"])
            meaning = TokenMeaning(self.backbone.decode, frozenset(body["stop_token_ids"]))
            row = TokenSequence(tuple(body["prompt"]), body["seed"], model, params, meaning)
            decoder = NativeDecoder(self.backbone)
            decoder.join([row])
            while decoder.rows:
                decoder.step()
            logprobs = row.logprobs
            if not self.processed:
                batch = make_batch(self.backbone, [body["prompt"]], [row.tokens])
                logprobs = response_logprobs(self.backbone, batch)[0].tolist()
        choice = {
            **{"index": 0, "text": "", "finish_reason": "stop" if row.finished else "length"},
            **{"token_ids": row.tokens, "prompt_token_ids": body["prompt"]},
            "logprobs": {"token_logprobs": logprobs, "tokens": [""] * len(logprobs), "top_logprobs": None},
        }
        return Answer(200, {"id": "cmpl-1", "object": "text_completion", "model": model, "choices": [choice]})


@contextmanager
def running(tiny: TinyVllm, port: int = 0) -> Iterator[TinyVllm]:
    """Serve on the port, or on one of its own, at `tiny.address`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            length = int(self.headers.get("content-length", 0))
            body = json.loads(self.rfile.read(length) or b"{}")
            answer = tiny.answer(Asked(self.path, body, self.headers.get("authorization", "")))
            content = json.dumps(answer.body).encode()
            self.send_response(answer.status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_GET(self) -> None:
            self.do_POST()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    tiny.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield tiny
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
