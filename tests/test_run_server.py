"""The index is served to this machine alone, and nothing outside its folder ever is."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import made_run_directories
import pytest

from iclprobe.cli import main
from iclprobe.cli.run_server import RunServer
from iclprobe.errors import UserError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("served")
    (place / "secret.txt").write_text("outside")
    made_run_directories.write_run(place / "runs" / "one")
    hostile = place / "runs" / "a <b> & 'c'"
    made_run_directories.write_copies(place / "runs" / "one", hostile, 1)
    (place / "runs" / "one" / "page.html").write_text("<script>1</script>")
    (place / "runs" / "one" / "link.txt").symlink_to(place / "secret.txt")
    (place / "runs" / "one" / ".hidden.txt").write_text("hidden")
    (place / "runs" / "out").symlink_to(place)
    return place / "runs"


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[RunServer]:
    with RunServer(folder, 0) as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def ask(
    server: RunServer, path: str, host: str | None = None, method: str = "GET"
) -> tuple[int, dict[str, str], str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    connection.putrequest(method, path, skip_host=True)
    connection.putheader("Host", host or f"127.0.0.1:{server.server_port}")
    connection.endheaders()
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, dict(answer.getheaders()), text


def test_the_index_names_every_run_and_only_as_data(server: RunServer) -> None:
    status, headers, text = ask(server, "/")
    assert status == 200 and headers["Content-Type"].startswith("text/html")
    data = json.loads(text.split('id="data">')[1].split("</script>")[0])
    assert {run["path"] for run in data["runs"]} == {"one", "a <b> & 'c'/group0/run0"}
    assert "<b>" not in text


def test_files_of_runs_are_given_as_they_are(server: RunServer, folder: Path) -> None:
    status, headers, text = ask(server, "/files/one/findings.csv")
    assert (status, text) == (200, (folder / "one" / "findings.csv").read_text())
    assert headers["Content-Type"].startswith("text/plain")
    named = quote("a <b> & 'c'/group0/run0/table.txt")
    assert ask(server, f"/files/{named}")[0] == 200


def test_the_page_of_a_run_reads_no_other(server: RunServer) -> None:
    _, headers, _ = ask(server, "/files/one/page.html")
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("sandbox ") and "allow-same-origin" not in policy
    assert "default-src 'none'" in policy
    assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    [
        "/files/../secret.txt",
        "/files/one/../../secret.txt",
        "/files/%2e%2e/secret.txt",
        "/files/one%2f..%2f..%2fsecret.txt",
        "/files/one/link.txt",
        "/files/out/secret.txt",
        "/files/out/runs/one/table.txt",
        "/files/one/.hidden.txt",
        "/files//etc/passwd",
        "/files/one",
        "/files/one/nothing.txt",
        "/files/one/table.txt%00",
        "/settings/../..",
        "/settings/out",
        "/elsewhere",
    ],
)
def test_nothing_outside_and_no_link_is_followed(server: RunServer, path: str) -> None:
    status, _, text = ask(server, path)
    assert status == 404
    assert "outside" not in text and "hidden" not in text.replace("'one/.hidden.txt'", "")


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1", "127.0.0.1.evil.example", ""]
)
def test_a_foreign_name_is_refused(server: RunServer, host: str) -> None:
    for path in ("/", "/files/one/table.txt", "/settings/one"):
        status, _, text = ask(server, path, host or "x")
        assert status == 403 and "sparsity" not in text


def test_localhost_is_a_name_of_this_machine(server: RunServer) -> None:
    assert ask(server, "/", f"localhost:{server.server_port}")[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_it_only_reads(server: RunServer, method: str) -> None:
    assert ask(server, "/", method=method)[0] == 501


def test_settings_are_those_of_the_run(server: RunServer) -> None:
    status, _, text = ask(server, "/settings/one")
    assert status == 200
    assert json.loads(text)["model"] == "pocket" and json.loads(text)["analysis"] == "sparsity"


def test_it_listens_on_the_loopback_alone(server: RunServer) -> None:
    assert server.socket.getsockname()[0] == "127.0.0.1"


def test_a_port_that_is_taken_is_one_sentence(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match="cannot be had"):
            RunServer(folder, port)
        assert main(["view", str(folder), "--port", str(port)]) == 2
    assert f"port {port} cannot be had" in capsys.readouterr().err


def test_no_folder_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["view", str(tmp_path / "nowhere")]) == 2
    assert "there is no folder" in capsys.readouterr().err
