"""Connections: certificates, proxies, redirects between origins; a server and a proxy of our own on loopback."""

from __future__ import annotations

import http.client
import http.server
import select
import socket
import ssl
import threading
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

import pphub_cache.web
from pphub.errors import SourceUnavailable
from pphub_cache.web import Failed, Web

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONTENT = bytes(range(256)) * 1000

# For localhost and 127.0.0.1, of nobody; made for these tests, valid for a hundred years.
CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBnDCCAUGgAwIBAgIUO/BOvthaO1A9ntvlrZ6v03cv29gwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMDA4MTI1MVoYDzIxMjYxMDI3
MDgxMjUxWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAQjJqLY564tCA0s3DmRvtD306MrcJZZ8qS1G7oGilOEhtQTYIosHnsZ
guq76uC4lzJ49rtm5rUKEeUp7XZxpddlo28wbTAdBgNVHQ4EFgQUTvreK2tMJuYj
Bl/pluuLtxChHeIwHwYDVR0jBBgwFoAUTvreK2tMJuYjBl/pluuLtxChHeIwDwYD
VR0TAQH/BAUwAwEB/zAaBgNVHREEEzARgglsb2NhbGhvc3SHBH8AAAEwCgYIKoZI
zj0EAwIDSQAwRgIhAL/0P+Hw14TylYdx/YUbHvK+L4qGYajmTLWDy6OYNnwCAiEA
2fHrXa+8qJKw4nxSCjIkEL1m70peVHl0O36X0gDSOBU=
-----END CERTIFICATE-----
"""
KEY = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg/TIMYAyU5dZb1cAf
BOH03D83YhxvgApQHC+9/e/TT0uhRANCAAQjJqLY564tCA0s3DmRvtD306MrcJZZ
8qS1G7oGilOEhtQTYIosHnsZguq76uC4lzJ49rtm5rUKEeUp7XZxpddl
-----END PRIVATE KEY-----
"""


class Server(http.server.BaseHTTPRequestHandler):
    """Sends the content, or the part of it that was asked for."""

    protocol_version = "HTTP/1.1"
    asked: list[dict[str, str]]

    def do_GET(self) -> None:
        self.asked.append({name.lower(): value for name, value in self.headers.items()} | {"path": self.path})
        first, last = 0, len(CONTENT) - 1
        if wanted := self.headers.get("Range"):
            start, _, end = wanted.removeprefix("bytes=").partition("-")
            first, last = int(start), int(end or last)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(CONTENT)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(last - first + 1))
        self.end_headers()
        self.wfile.write(CONTENT[first : last + 1])

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class Proxy(Server):
    """Forwards what it is asked for, in plain or through a tunnel."""

    def do_GET(self) -> None:
        self.asked.append({name.lower(): value for name, value in self.headers.items()} | {"path": self.path})
        parts = urlsplit(self.path)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
        connection.request("GET", parts.path, headers={"Range": self.headers.get("Range", "bytes=0-")})
        answer = connection.getresponse()
        body = answer.read()
        self.send_response(answer.status)
        self.send_header("Content-Length", str(len(body)))
        if place := answer.headers.get("Content-Range"):
            self.send_header("Content-Range", place)
        self.end_headers()
        self.wfile.write(body)
        connection.close()

    def do_CONNECT(self) -> None:
        self.asked.append({name.lower(): value for name, value in self.headers.items()} | {"path": self.path})
        host, _, port = self.path.partition(":")
        with socket.create_connection((host, int(port))) as other:
            self.send_response(200)
            self.end_headers()
            ends = [self.connection, other]
            while True:
                for end in select.select(ends, [], [])[0]:
                    data = end.recv(65536)
                    if not data:
                        self.close_connection = True
                        return
                    (other if end is self.connection else self.connection).sendall(data)


@contextmanager
def running(handler: type[Server], certificate: Path | None = None) -> Iterator[tuple[str, list[dict[str, str]]]]:
    class Own(handler):  # type: ignore[misc, valid-type]
        asked: list[dict[str, str]] = []  # noqa: RUF012  one list for each server

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Own) as server:
        server.daemon_threads = True
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        scheme = "https" if certificate else "http"
        yield f"{scheme}://127.0.0.1:{server.server_address[1]}", Own.asked
        server.shutdown()
        thread.join()


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    path = tmp_path / "certificate.pem"
    path.write_text(KEY + CERTIFICATE)
    return path


@pytest.fixture(autouse=True)
def _fresh_certificates(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """They are read once a process."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    pphub_cache.web._tls.cache_clear()
    yield
    pphub_cache.web._tls.cache_clear()


def read(url: str, start: int = 0, headers: dict[str, str] | None = None) -> bytes:
    web = Web(connections=2)
    body = web.get(url, headers or {}, start=start)
    blocks = []
    while block := body.read():
        blocks.append(block)
    body.close(whole=True)
    web.close()
    return b"".join(blocks)


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_a_certificate_of_ones_own(certificate: Path, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(Server, certificate) as (url, asked):
        with pytest.raises(Failed, match="certificate") as caught:
            read(f"{url}/x?secret=SECRET")
        assert "SECRET" not in str(caught.value)
        assert asked == []
        pphub_cache.web._tls.cache_clear()
        monkeypatch.setenv(variable, str(certificate))
        assert read(f"{url}/x") == CONTENT
        assert read(f"{url}/x", 1000) == CONTENT[1000:]


@pytest.mark.parametrize("secure", [False, True])
def test_a_proxy_with_a_password(certificate: Path, secure: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    with running(Server, certificate if secure else None) as (url, asked), running(Proxy) as (proxy, proxied):
        monkeypatch.setenv("HTTPS_PROXY" if secure else "HTTP_PROXY", proxy.replace("//", "//some%40one:pass@"))
        assert read(f"{url}/x", 7, {"Authorization": "Bearer token"}) == CONTENT[7:]
        (passed,) = proxied
        assert passed["proxy-authorization"] == "Basic c29tZUBvbmU6cGFzcw=="  # some@one:pass
        assert ("authorization" in passed) != secure  # in a tunnel the proxy sees nothing
        assert all("proxy-authorization" not in request for request in asked)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        assert read(f"{url}/x") == CONTENT
        assert len(proxied) == 1


def test_a_proxy_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://some:SECRET@127.0.0.1:9")
    with pytest.raises(Failed, match="refused") as caught:
        read("http://127.0.0.1:1/x")
    assert "SECRET" not in str(caught.value)


def test_a_socks_proxy_needs_a_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://some:SECRET@127.0.0.1:9")
    if find_spec("socks") is None:
        with pytest.raises(SourceUnavailable, match="speaks SOCKS") as caught:
            read("http://127.0.0.1:1/x")
        assert "PySocks" in str(caught.value.hint)
        assert "SECRET" not in str(caught.value)
    else:
        with pytest.raises(Failed, match="refused"):
            read("http://127.0.0.1:1/x")
