"""Reading byte ranges of files on a hub or any web server, so that only the wanted tensors travel."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from ..addresses import public
from ..errors import UserError, reason_of
from .safetensors_file import truncated

# Further attempts without progress, and seconds before the first of them; each wait is twice the last.
_RETRIES = 3
_FIRST_WAIT = 0.5
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_TELLING = ("huggingface_hub.utils._http", "httpx", "httpx2", "httpcore.connection", "httpcore.http11")
_HUB_REASONS = {
    "RepoNotFound": "there is no such model on the hub (nor such a directory here), or it is private: "
    "check the name, or log in",
    "RevisionNotFound": "the model has no such revision: see its branches and tags on the hub",
    "GatedRepo": "the model is gated: accept its terms on the hub and log in",
}


class RemoteFile:
    """A file behind an address, read by HTTP range requests through huggingface_hub's session.

    A dropped connection is taken up again where it broke off. A redirection (the hub sends readers on to
    its storage) is remembered, and the token never follows it to another host.

    Attributes:
        label: Its address, as messages may say it.
        size: Its length in bytes, known after the first read.
    """

    def __init__(self, url: str, token: bool | None = None) -> None:
        """Take note of the address; nothing is requested yet.

        Args:
            url: The address.
            token: Whether to send the hub's token; None sends the saved one if there is one.
        """
        _check_address(url)
        self.label = public(url)
        self.size = 0
        self._token = token
        self._asked = self._address = url

    def read_into(self, start: int, buffer: memoryview) -> None:
        """Fill the buffer with the bytes from ``start`` on.

        Raises:
            FileNotFoundError: If there is no such file.
            UserError: If it ends too early, its server serves no ranges, or it cannot be reached.
        """
        position = failures = 0
        while position < len(buffer):
            received = self._receive(start + position, buffer[position:])
            position += received
            failures = 0 if received else failures + 1
            if failures > _RETRIES:
                raise UserError(
                    f"{self.label!r}: the connection dropped {failures} times at byte {start + position}: "
                    "try again later"
                )
            if position < len(buffer):
                time.sleep(_FIRST_WAIT * 2**failures)

    def close(self) -> None:
        """Do nothing: the session is huggingface_hub's, which shares it."""

    def _receive(self, start: int, buffer: memoryview) -> int:
        """Make one request and return how many bytes came before the connection dropped."""
        headers = {
            **_headers(self._token if self._address_is_at_home() else False),
            "Range": f"bytes={start}-{start + len(buffer) - 1}",
            "Accept-Encoding": "identity",
        }
        received = 0
        with _requesting(self._address, headers) as response:
            if response.status_code in (400, 401, 403) and self._address != self._asked:
                # The storage's signed address has run out: ask the hub for another.
                self._address = self._asked
                return 0
            self._check(response, start, len(buffer))
            try:
                for chunk in response.iter_raw():
                    if received + len(chunk) > len(buffer):
                        raise UserError(f"{self.label!r}: the server sent more than the asked range")
                    buffer[received : received + len(chunk)] = chunk
                    received += len(chunk)
            except _client_errors():
                return received
        return received

    def _check(self, response: Any, start: int, length: int) -> None:
        _check_status(response, self.label)
        if response.status_code == 416:
            found = re.fullmatch(r"bytes \*/(\d+)", response.headers.get("Content-Range", ""))
            raise truncated(self.label, int(found[1]) if found else start, start + length)
        found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if response.status_code != 206 or found is None or int(found[1]) != start:
            raise UserError(
                f"{self.label!r}: the server answers no byte ranges, and whole files are not fetched: "
                "download the checkpoint and give its directory"
            )
        self.size = int(found[3])
        if self.size < start + length:
            raise truncated(self.label, self.size, start + length)
        self._address = str(response.url)

    def _address_is_at_home(self) -> bool:
        return urlsplit(self._address)[:2] == urlsplit(self._asked)[:2]


def read_whole(url: str, token: bool | None = None) -> bytes | None:
    """Read a small file, or return None if there is none.

    Args:
        url: The address.
        token: Whether to send the hub's token; None sends the saved one if there is one.

    Raises:
        UserError: If it cannot be read.
    """
    from huggingface_hub.utils import http_backoff

    _check_address(url)
    try:
        response = http_backoff("GET", url, **_options(_headers(token)))
        _check_status(response, url)
    except FileNotFoundError:
        return None
    except _client_errors() as error:
        raise _unreachable(url, error) from None
    return response.content


@contextmanager
def _requesting(url: str, headers: dict[str, str]) -> Iterator[Any]:
    from huggingface_hub.utils import http_stream_backoff

    try:
        with http_stream_backoff("GET", url, **_options(headers)) as response:
            yield response
    except FileNotFoundError:
        raise
    except _client_errors() as error:
        raise _unreachable(url, error) from None


def _log_no_secrets() -> None:
    """Keep secrets out of what the client's libraries log: warnings of huggingface_hub name the whole address."""
    for name in _TELLING:
        logging.getLogger(name).addFilter(_without_secrets)


def _without_secrets(record: logging.LogRecord) -> bool:
    record.msg, record.args = public(record.getMessage()), ()
    return True


def _check_address(url: str) -> None:
    _log_no_secrets()
    try:
        parts = urlsplit(url)
        complete = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        complete = False
    if not complete:
        raise UserError(f"{url!r} is no address: give one such as https://host/model.safetensors")


def _options(headers: dict[str, str]) -> dict[str, Any]:
    from huggingface_hub import constants

    return {
        "headers": headers,
        "timeout": constants.HF_HUB_DOWNLOAD_TIMEOUT,
        "follow_redirects": True,
        "max_retries": _RETRIES,
        "base_wait_time": _FIRST_WAIT,
    }


def _headers(token: bool | None) -> dict[str, str]:
    from huggingface_hub.utils import build_hf_headers

    return build_hf_headers(token=token, library_name="iclprobe")


def _check_status(response: Any, url: str) -> None:
    """Refuse an answer that is neither the file nor about its range."""
    code = response.headers.get("X-Error-Code")
    if code in _HUB_REASONS:
        raise UserError(f"cannot read {url!r}: {_HUB_REASONS[code]}")
    if response.status_code == 404:
        raise FileNotFoundError(url)
    if response.status_code >= 400 and response.status_code != 416:
        raise UserError(
            f"cannot read {url!r}: the server answered {response.status_code} {response.reason_phrase} "
            "(check the address and that you may read it)"
        )


def _client_errors() -> tuple[type[Exception], ...]:
    """Return what the HTTP client raises when a connection fails."""
    # huggingface_hub changed its client (httpx, httpx2); its own error has the client's among its bases.
    from huggingface_hub.errors import HfHubHTTPError

    return tuple(base for base in HfHubHTTPError.__bases__ if issubclass(base, Exception))


def _unreachable(url: str, error: Exception) -> UserError:
    # Raised from None: a traceback would show the client's error, which names the whole address.
    reason = reason_of(error, 1000).replace(public(url), "it")[:110]
    return UserError(f"cannot read {url!r}: {reason} (check the name and the connection)")
