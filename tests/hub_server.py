"""A web server on loopback that plays the hub: byte ranges, counted bytes, and the faults of real networks."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit


@dataclass
class HubServer:
    """What the server serves, what was asked of it, and how it misbehaves.

    `root` holds `owner/name/revision/file`, served at `/owner/name/resolve/revision/file`; anything in `root` is
    also served at its plain path.
    """

    root: Path
    address: str = ""
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    """Path and Range header of each request."""
    tokens: list[str | None] = field(default_factory=list)
    """The Authorization header of each request."""
    sent: dict[str, int] = field(default_factory=dict)
    """Bytes of the body sent, by file name."""
    drops: list[int] = field(default_factory=list)
    """The next answers with a body of more bytes than that break off after so many."""
    failures: list[int] = field(default_factory=list)
    """Statuses of the next answers."""
    ranges: bool = True
    storage: HubServer | None = None
    """Another server to which weights are redirected."""
    expires: bool = False
    """Whether each redirected address works only once."""


@contextmanager
def serve(root: Path) -> Iterator[HubServer]:
    hub = HubServer(root)

    class Handler(_Handler):
        state = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Headers and body are written separately: waiting for their acknowledgement would cost 40 ms an answer.
    disable_nagle_algorithm = True
    state: HubServer

    def do_GET(self) -> None:
        hub, asked = self.state, self.headers.get("Range")
        url = urlsplit(self.path)
        hub.requests.append((self.path, asked))
        hub.tokens.append(self.headers.get("Authorization"))
        if hub.failures:
            return self._answer(hub.failures.pop(0))
        path, error = self._find(url.path)
        if error is not None:
            return self._answer(404, {"X-Error-Code": error})
        if hub.expires and url.query:
            if url.query in self._spent():
                return self._answer(403)
            self._spent().add(url.query)
        if hub.storage is not None and path.suffix == ".safetensors":
            target = f"{hub.storage.address}/{path.relative_to(hub.root)}?signature={len(hub.requests)}"
            return self._answer(302, {"Location": target})
        content = path.read_bytes()
        if asked is None or not hub.ranges:
            return self._send(path.name, 200, content, {})
        first, last = map(int, re.fullmatch(r"bytes=(\d+)-(\d+)", asked).groups())  # type: ignore[union-attr]
        if first >= len(content):
            return self._answer(416, {"Content-Range": f"bytes */{len(content)}"})
        part = content[first : last + 1]
        span = f"bytes {first}-{first + len(part) - 1}/{len(content)}"
        return self._send(path.name, 206, part, {"Content-Range": span})

    def do_HEAD(self) -> None:
        _, error = self._find(urlsplit(self.path).path)
        self._answer(200 if error is None else 404, {"X-Error-Code": error} if error else None)

    def _find(self, path: str) -> tuple[Path, str | None]:
        """The file at a path, or the hub's word for what is missing."""
        hub = self.state
        match = re.fullmatch(r"/(.+)/resolve/([^/]+)/(.+)", path)
        if match is None:
            plain = hub.root / path.lstrip("/")
            return plain, None if plain.is_file() else ""
        repo, revision, name = match.groups()
        for place, error in (
            (hub.root / repo, "RepoNotFound"),
            (hub.root / repo / revision, "RevisionNotFound"),
            (hub.root / repo / revision / name, "EntryNotFound"),
        ):
            if not place.exists():
                return place, error
        return hub.root / repo / revision / name, None

    def _spent(self) -> set[str]:
        return self.server.__dict__.setdefault("spent", set())

    def _answer(self, status: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, name: str, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for header, value in headers.items():
            self.send_header(header, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        drops = self.state.drops
        cut = drops.pop(0) if drops and len(body) > drops[0] else len(body)
        # Counted first: a client that has its bytes may look at the count at once.
        self.state.sent[name] = self.state.sent.get(name, 0) + cut
        self.wfile.write(body[:cut])
        if cut < len(body):
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        pass
