"""Run directories served to a browser on this machine alone: read-only, and nothing outside their folder."""

from __future__ import annotations

import json
import mimetypes
import shutil
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ..errors import UserError, shown
from ..plain_place import plain_file

_HOSTS = ("127.0.0.1", "localhost")
_INDEX_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# A run's page may come from anybody: it runs in an origin of its own, from which nothing else can be read.
_FILE_POLICY = (
    "sandbox allow-scripts allow-downloads; default-src 'none'; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; img-src data: blob:; font-src data:; frame-ancestors 'none'"
)
_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".json": "application/json; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".csv": "text/plain; charset=utf-8",
    ".yaml": "text/plain; charset=utf-8",
}


class RunServer(ThreadingHTTPServer):
    """Serves the index of a folder, and the files of the runs in it, on the loopback interface.

    Attributes:
        folder: The folder.
    """

    daemon_threads = True

    def __init__(self, folder: Path, port: int) -> None:
        """Begin to listen.

        Args:
            folder: The folder.
            port: Where; 0 takes any free port.

        Raises:
            UserError: If the port cannot be had.
        """
        self.folder = folder.resolve()
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except OSError as error:
            raise UserError(
                f"port {port} cannot be had ({error.strerror or error}): name another one with --port, or 0 for any"
            ) from error

    @property
    def address(self) -> str:
        """Where a browser finds it."""
        return f"http://127.0.0.1:{self.server_port}/"


class _Handler(BaseHTTPRequestHandler):
    server: RunServer  # pyright: ignore[reportIncompatibleVariableOverride]
    server_version = "iclprobe"
    sys_version = ""
    timeout = 30

    def do_GET(self) -> None:
        """Answer with the index, the settings of a run, or a file of one."""
        # A name that points here from elsewhere (DNS rebinding) must not let a foreign page read runs.
        host = self.headers.get("Host", "")
        if host not in {f"{name}:{self.server.server_port}" for name in _HOSTS}:
            self._refuse(HTTPStatus.FORBIDDEN, "this server answers to 127.0.0.1 and localhost alone")
            return
        path = unquote(urlsplit(self.path).path, errors="replace")
        try:
            if path == "/":
                self._send(_index(self.server.folder).encode(), _KINDS[".html"], _INDEX_POLICY)
            elif path.startswith("/settings/"):
                self._send_settings(path.removeprefix("/settings/"))
            elif path.startswith("/files/"):
                self._send_file(path.removeprefix("/files/"))
            else:
                self._refuse(HTTPStatus.NOT_FOUND, "there is nothing here")
        except UserError as error:
            self._refuse(HTTPStatus.NOT_FOUND, str(error))
        except (BrokenPipeError, ConnectionResetError, TimeoutError):
            # The browser went away.
            self.close_connection = True

    do_HEAD = do_GET

    def _send_settings(self, run: str) -> None:
        from ..reports.run_index.settings import settings_of

        config = plain_file(self.server.folder, f"{run}/config.yaml" if run else "config.yaml")
        text = json.dumps(settings_of(config.parent), ensure_ascii=True)
        self._send(text.encode(), _KINDS[".json"], _INDEX_POLICY)

    def _send_file(self, name: str) -> None:
        path = plain_file(self.server.folder, name)
        kind = _KINDS.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        with path.open("rb") as file:
            self._begin(path.stat().st_size, kind, _FILE_POLICY)
            if self.command == "GET":
                shutil.copyfileobj(file, self.wfile)

    def _send(self, content: bytes, kind: str, policy: str) -> None:
        self._begin(len(content), kind, policy)
        if self.command == "GET":
            self.wfile.write(content)

    def _begin(self, length: int, kind: str, policy: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        self.send_response(status)
        for name, value in {
            "Content-Type": kind,
            "Content-Length": str(length),
            "Content-Security-Policy": policy,
            "X-Content-Type-Options": "nosniff",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-store",
        }.items():
            self.send_header(name, value)
        self.end_headers()

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        content = f"{why}\n".encode()
        self._begin(len(content), _KINDS[".txt"], _FILE_POLICY, status)
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing of each request."""


def _index(folder: Path) -> str:
    from ..reports.run_index.index import index_page
    from ..study.run_listing import list_runs

    return index_page(list_runs(folder), f"Runs in {shown(folder.name or folder)}".replace("'", ""))
