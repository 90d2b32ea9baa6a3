"""A hub of static files, served by nginx, which is faster than anything that downloads from it.

It answers what the clients of Hugging Face and of ModelScope ask when they list and download a model. nginx runs as
whoever runs this, from a folder of its own; the system's configuration is not touched.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from measure import WORK

if TYPE_CHECKING:
    from pathlib import Path

KEPT: Final = "random-1GiB"
SIZE: Final = 1 << 30
SMALL: Final = 10_000
LIMIT: Final = 50_000_000
"""Bytes a second of one connection to the slow port."""
BIG: Final = "org/big"
MANY: Final = "org/many"
FEW: Final = "org/few"
TINY: Final = "org/tiny"
COUNTS: Final = {MANY: 200, FEW: 5, TINY: 1}
"""Small files of a model."""

_THEN: Final = 1_700_000_000
_LARGE: Final = 10 << 20  # from here on a hub names a file by its sha256
_CONFIG: Final = """
daemon off;
worker_processes 2;
{user}
pid nginx.pid;
error_log error.log;
events {{ worker_connections 1024; }}
http {{
    default_type application/octet-stream;
    log_format plain '$request_method $status $body_bytes_sent $uri';
    access_log access.log plain;
    client_body_temp_path temporary;
    proxy_temp_path temporary;
    fastcgi_temp_path temporary;
    uwsgi_temp_path temporary;
    scgi_temp_path temporary;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000;
    map $uri $commit {{ default ""; "~/resolve/(?<found>[0-9a-f]{{40}})/" $found; }}
    server {{ listen 127.0.0.1:{port}; include hub.conf; }}
    server {{ listen 127.0.0.1:{slow_port}; include hub.conf; limit_rate {limit}; }}
}}
"""
_HUB: Final = """
root site;
add_header X-Repo-Commit $commit;
location /api/ { default_type application/json; try_files $uri.json =404; }
location ~ ^/api/v1/models/(?<repo>[^/]+/[^/]+)/repo$ {
    try_files /$repo/resolve/$arg_Revision/$arg_FilePath =404;
}
"""


def missing_tools() -> list[str]:
    """What is needed and not installed."""
    return [name for name in ("nginx", "curl") if _find(name) is None]


def _find(name: str) -> str | None:
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"]))


@dataclass(frozen=True)
class Sent:
    """What the server sent of a repository's files."""

    requests: int
    size: int


class Server:
    """nginx, from ``__enter__`` to ``__exit__``; it also ends when this process is killed."""

    def __init__(self) -> None:
        self._folder = WORK / "nginx"
        self._process: subprocess.Popen[bytes] | None = None
        self.url = self.slow_url = ""

    def __enter__(self) -> Server:
        (self._folder / "temporary").mkdir(parents=True)
        _make_models(self._folder / "site")
        port, slow_port = _free_ports(2)
        # The workers of root's nginx would be nobody, who may not be allowed to read here.
        user = f"user {pwd.getpwuid(0).pw_name};" if os.geteuid() == 0 else ""
        config = _CONFIG.format(user=user, port=port, slow_port=slow_port, limit=LIMIT)
        (self._folder / "nginx.conf").write_text(config)
        (self._folder / "hub.conf").write_text(_HUB)
        self.url, self.slow_url = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{slow_port}"
        try:
            self._start(port)
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self, port: int) -> None:
        command = [str(_find("nginx")), "-p", f"{self._folder}/", "-c", "nginx.conf"]
        with (self._folder / "output").open("wb") as output:
            # A group of its own: Ctrl-C is for us, and we end it.
            self._process = subprocess.Popen(
                command,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=_end_with_parent,  # noqa: PLW1509  there are no threads here
            )
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            if self._process.poll() is not None:
                break
            time.sleep(0.05)
        raise SystemExit(f"nginx does not run: {(self._folder / 'output').read_text()}")

    def __exit__(self, *_error: object) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def address(self, repo: str, path: str, *, slow: bool = False) -> str:
        """The URL of a file."""
        return f"{self.slow_url if slow else self.url}/{repo}/resolve/{_commit(repo)}/{path}"

    def forget(self) -> None:
        """Count anew what is sent."""
        os.truncate(self._folder / "access.log", 0)

    def sent(self, repo: str) -> Sent:
        """What was sent of a repository's files since :meth:`forget`."""
        time.sleep(0.2)  # the log is written when an answer has ended, which the client may know a little earlier
        lines = [line.split() for line in (self._folder / "access.log").read_text().splitlines()]
        sizes = [int(size) for _, _, size, path in lines if path.startswith(f"/{repo}/resolve/")]
        return Sent(len(sizes), sum(sizes))


def _end_with_parent() -> None:
    """In the child: SIGTERM when the parent is gone, however it went; Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [found.getsockname()[1] for found in sockets]
    for found in sockets:
        found.close()
    return ports


def _commit(repo: str) -> str:
    return hashlib.sha1(repo.encode()).hexdigest()


def small_name(number: int) -> str:
    """What the files of the models of small files are called."""
    return f"part-{number:03}.json"


def _make_models(site: Path) -> None:
    random = WORK / KEPT
    if not random.exists() or random.stat().st_size != SIZE:
        with random.open("wb") as stream:
            for _ in range(SIZE >> 20):
                stream.write(os.urandom(1 << 20))
    _publish(site, BIG, {"model.safetensors": random})
    for repo, count in COUNTS.items():
        _publish(site, repo, {small_name(number): os.urandom(SMALL) for number in range(count)})
    os.sync()


def _publish(site: Path, repo: str, files: dict[str, bytes | Path]) -> None:
    """Write a model's files, and what the hubs answer of them."""
    commit = _commit(repo)
    folder = site / repo / "resolve" / commit
    folder.mkdir(parents=True)
    (folder.parent / "master").symlink_to(commit)  # as ModelScope calls it
    facts = []
    for number, (name, content) in enumerate(files.items()):
        if isinstance(content, bytes):
            (folder / name).write_bytes(content)
        else:
            os.link(content, folder / name)
        # nginx's ETag is made of time and size, and huggingface_hub takes files with the same ETag for the same.
        os.utime(folder / name, (_THEN + number, _THEN + number))
        facts.append(_facts(folder / name))

    def answer(path: str, value: Any) -> None:
        place = site / "api" / f"{path}.json"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(json.dumps(value))

    about = {"id": repo, "sha": commit, "siblings": [{"rfilename": name} for name in files]}
    answer(f"models/{repo}/revision/main", about)
    answer(f"models/{repo}/revision/{commit}", about)
    answer(f"models/{repo}/tree/{commit}", [_huggingface_entry(*fact) for fact in facts])
    entries = [_modelscope_entry(*fact, commit) for fact in facts]
    answer(f"v1/models/{repo}/repo/files", _modelscope_answer({"Files": entries}))
    revisions = {"RevisionMap": {"Branches": [{"Revision": "master", "CreatedAt": 0}], "Tags": []}}
    answer(f"v1/models/{repo}/revisions", _modelscope_answer(revisions))


def _facts(path: Path) -> tuple[str, int, str, str]:
    """Name, size, git's hash and sha256."""
    size = path.stat().st_size
    git, sha256 = hashlib.sha1(b"blob %d\0" % size), hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            git.update(block)
            sha256.update(block)
    return path.name, size, git.hexdigest(), sha256.hexdigest()


def _huggingface_entry(name: str, size: int, git: str, sha256: str) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "path": name, "size": size, "oid": git}
    if size > _LARGE:
        entry["lfs"] = {"oid": sha256, "size": size, "pointerSize": 134}
    return entry


def _modelscope_entry(name: str, size: int, _git: str, sha256: str, commit: str) -> dict[str, Any]:
    known = {"Name": name, "Path": name, "Type": "blob", "Size": size, "Sha256": sha256, "Revision": commit}
    return {**known, "Mode": "33188", "IsLFS": size > _LARGE, "CommittedDate": 0}


def _modelscope_answer(data: dict[str, Any]) -> dict[str, Any]:
    return {"Code": 200, "Success": True, "Message": "", "RequestId": "0", "Data": data}
