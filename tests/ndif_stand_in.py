"""A stand-in for NDIF: what nnsight's client asks over HTTP and a websocket, answered by a process without iclprobe.

It restores the very request that the client sends, by nnsight's own functions, and runs it on a model whose weights
only it has. `GET /status` also tells what left it.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import struct
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

_WEBSOCKET = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


@contextmanager
def hosting(folder: Path) -> Iterator[str]:
    """Run the stand-in for a model in a folder; yields its address."""
    process = subprocess.Popen(
        [sys.executable, __file__, str(folder)], stdout=subprocess.PIPE, text=True, stderr=subprocess.DEVNULL
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


class _Host:
    """The model, and what happened."""

    def __init__(self, folder: str) -> None:
        from nnsight import TransformersModel

        self.model: Any = TransformersModel(folder, task="text-generation", dispatch=True)
        self.sockets: dict[str, Any] = {}
        self.left: list[dict[str, Any]] = []
        self.lock = threading.Lock()

    def run(self, envelope: dict[str, Any], blob: bytes) -> bytes:
        """Restore a request, run it, and return what was saved."""
        import torch
        import zstandard
        from nnsight.schema.request import RequestModel
        from nnsight.tracing.tracer import _saves, dec, inc

        with self.lock:
            self.model._remoteable_set_env(envelope["env"])
            tracer = RequestModel.deserialize(
                blob, self.model._remoteable_persistent_objects(), envelope["compress"]
            )
            inc()
            try:
                tracer.execute(tracer.info.code)
                saves = _saves()
                scope = tracer.info.frame.f_locals
                saved = {name: value for name, value in scope.items() if id(value) in saves}
            finally:
                dec()
        self.left.append(
            {
                "shapes": {str(key): list(each.shape) for key, each in _tensors(saved)},
                "attention": self.model.attn_implementation,
                "sent": len(blob),
            }
        )
        buffer = io.BytesIO()
        torch.save(saved, buffer, pickle_protocol=4)
        content = buffer.getvalue()
        return zstandard.ZstdCompressor().compress(content) if envelope["compress"] else content


def _tensors(value: Any, name: Any = "") -> Iterator[tuple[Any, Any]]:
    if hasattr(value, "shape"):
        yield name, value
    for key, each in value.items() if isinstance(value, dict) else ():
        yield from _tensors(each, key)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    host: _Host

    def log_message(self, format: str, *args: Any) -> None: ...

    def do_GET(self) -> None:
        if self.path == "/status":
            self._answer({"deployments": {}, "left": self.host.left})
            return
        key = self.headers["Sec-WebSocket-Key"].encode()
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        accept = base64.b64encode(hashlib.sha1(key + _WEBSOCKET).digest()).decode()
        self.send_header("Sec-WebSocket-Accept", accept)
        self.end_headers()
        done, session = threading.Event(), str(len(self.host.sockets))
        self.host.sockets[session] = (self.wfile, done)
        _send(self.wfile, json.dumps({"session_id": session}).encode(), text=True)
        done.wait(60)
        self.close_connection = True

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        boundary = b"--" + self.headers["Content-Type"].split("boundary=")[1].encode()
        parts = [part.split(b"\r\n\r\n", 1) for part in body.split(boundary) if b"\r\n\r\n" in part]
        fields = {head.split(b'name="')[1].split(b'"')[0]: content[:-2] for head, content in parts}
        envelope = json.loads(fields[b"data"])
        if self.headers["ndif-api-key"] != "a key":
            self._answer({"detail": "the API key is not known"}, 401)
            return
        self._answer({"id": "job", "status": "RECEIVED"})
        file, done = self.host.sockets[envelope["session_id"]]
        _send(file, json.dumps({"id": "job", "status": "RUNNING"}).encode(), text=True)
        from nnsight.schema.response import ResponseModel, Status

        try:
            result = self.host.run(envelope, fields[b"blob"])
            _send(file, ResponseModel(id="job", status=Status.COMPLETED, data=result).pickle(), text=False)
        except BaseException:
            said = json.dumps({"id": "job", "status": "ERROR", "description": traceback.format_exc()})
            _send(file, said.encode(), text=True)
        done.set()

    def _answer(self, content: Any, code: int = 200) -> None:
        body = json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()


def _send(file: Any, payload: bytes, *, text: bool) -> None:
    size = len(payload)
    length = bytes([size]) if size < 126 else b"\x7e" + struct.pack(">H", size)
    if size >= 1 << 16:
        length = b"\x7f" + struct.pack(">Q", size)
    file.write(bytes([0x81 if text else 0x82]) + length + payload)
    file.flush()


def main() -> None:
    # What is asked for here must not need iclprobe, as it is not on NDIF's servers.
    sys.modules["iclprobe"] = None  # type: ignore[assignment]
    _Handler.host = _Host(sys.argv[1])
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
