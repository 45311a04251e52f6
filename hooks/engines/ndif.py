"""NDIF: the service that runs models which are too large to run here. It answers in time, or one sentence says so."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import websocket
from huggingface_hub import HfApi
from nnsight.intervention.backends.remote import RemoteBackend, RemoteError
from nnsight.modeling.huggingface import _ID_CACHE
from nnsight.ndif import register
from nnsight.schema.config import CONFIG
from nnsight.schema.request import RequestModel
from nnsight.schema.response import Status

from ...errors import UserError, reason_of, shown
from . import nnsight_rows
from .hosted_model import HostedModel

KEY = "NDIF_API_KEY"
HOST = "NDIF_HOST"
# Seconds until something has to answer, and until a job that waits or runs has to say something.
ANSWER = 20.0
SILENCE = 600.0


@dataclass(frozen=True)
class Service:
    """The service as it is reached for one model.

    Attributes:
        host: Its address.
        api_key: The user's key.
        model: The model's name.
        model_key: What nnsight calls it there.
        environment: What the server is to set before it runs.
    """

    host: str
    api_key: str
    model: str
    model_key: str
    environment: dict[str, Any]

    @classmethod
    def reached(cls, model: HostedModel) -> Service:
        """Return the service, which answers and knows the model's name.

        Raises:
            UserError: If there is no API key, the service does not answer, or the hub does not know the model.
        """
        key = os.environ.get(KEY) or CONFIG.API.APIKEY
        if not key:
            raise UserError(f"NDIF needs an API key: set {KEY} (https://login.ndif.us gives one)")
        host = os.environ.get(HOST) or CONFIG.API.HOST
        try:
            httpx.get(f"{host}/status", timeout=ANSWER).raise_for_status()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise UserError(
                f"NDIF at {shown(host)} does not answer ({_said(error)}): see https://nnsight.net/status, try "
                f"later, set {HOST}, or run the model here"
            ) from error
        try:
            # Or nnsight asks the hub how the name is spelled there, without an end to its patience.
            if model.name not in _ID_CACHE:
                _ID_CACHE[model.name] = HfApi().model_info(model.name, timeout=ANSWER).id
            model_key = model.envoy.to_model_key()
        except Exception as error:  # whatever the hub's client raises
            raise UserError(
                f"NDIF knows models by their name on the hub, which does not say whether there is "
                f"{shown(model.name)} ({_said(error)}): check the name and the connection"
            ) from error
        # On the server there is no iclprobe: these functions travel.
        register(nnsight_rows)
        return cls(host, key, model.name, model_key, model.envoy._remoteable_get_env())

    def backend(self) -> Any:
        """Return what sends one trace to the service and waits for what it brings."""
        return _Backend(self.model_key, host=self.host, api_key=self.api_key, env=self.environment)

    @contextmanager
    def told_in_one_sentence(self) -> Iterator[None]:
        """Turn what goes wrong on the way, or there, into a `UserError`.

        Raises:
            UserError: If anything did.
        """
        try:
            yield
        except UserError:
            raise
        except RemoteError as error:
            raise UserError(
                f"NDIF did not run {shown(self.model)}: {_last_line(error)} (nnsight.status() lists what it hosts)"
            ) from error
        except (httpx.HTTPError, websocket.WebSocketException, OSError, ValueError, KeyError) as error:
            raise UserError(
                f"NDIF at {shown(self.host)} broke off ({_said(error)}): try again, or see https://nnsight.net/status"
            ) from error


class _Backend(RemoteBackend):
    """nnsight's own way to the service, with an end to every wait and nothing printed."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.display.enabled = False

    def request(self, request: RequestModel, tracer: Any) -> Any:
        """Send a trace and return what was saved in it."""
        blob = self._serialize(tracer)
        connection = websocket.create_connection(
            f"{self.ws_host}/subscribe", header={"ndif-api-key": self.api_key}, timeout=ANSWER
        )
        try:
            request.session_id = json.loads(connection.recv())["session_id"]
            self.send(request, blob)
            connection.settimeout(SILENCE)
            while True:
                response = self.parse(connection.recv())
                result = self.handle(response)
                if response.status == Status.COMPLETED:
                    return result
        finally:
            connection.close()


def _said(error: BaseException) -> str:
    return reason_of(error, 80)


def _last_line(error: RemoteError) -> str:
    """Return what the service says, which may be the whole traceback of what went wrong there."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return reason_of(RemoteError(lines[-1] if lines else "no reason given"), 140)
