"""Processes that are killed, and what is looked at afterwards."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["Process", "check_nothing_wrong", "pipe", "result"]


class Process:
    """A Python process that prints "ready", and goes on once it is told to go."""

    def __init__(self, home: Path, code: str, *arguments: str) -> None:
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PPNLP_HOME": str(home)}
        self._ready = False
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ready(self) -> None:
        if not self._ready:
            assert pipe(self.process.stdout).readline() == "ready\n", pipe(self.process.stderr).read()
        self._ready = True

    def go(self) -> None:
        self.ready()
        pipe(self.process.stdin).write("go\n")
        pipe(self.process.stdin).flush()

    def kill(self) -> None:
        self.process.kill()

    def end(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=120)
        return self.process.returncode, out, err


def pipe(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


def result(folder: Path) -> dict[str, bytes]:
    """All that a user of the folder would read."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.endswith(".tmp")}


def check_nothing_wrong(home: Path, model: Mapping[str, bytes]) -> None:
    """What the cache would trust is true; ``model`` is what the hub has."""
    for blob in (home / "hub/blobs").rglob("*"):
        assert blob.is_dir() or hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name
    for record in (home / "hub").glob("snapshots/**/snapshot.json"):
        for path, entry in json.loads(record.read_bytes())["files"].items():
            assert entry["stored"]
            assert (record.parent / path).read_bytes() == model[path]
    for record in (home / "hub").glob("converted/[!.]*/conversion.json"):
        output = json.loads(record.read_bytes())["output"]
        content = (record.parent / output["file"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == output["sha256"]
