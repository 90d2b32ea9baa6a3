"""What each command does. Results go to standard output, everything else to standard error."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pphub.cli.printing import print_json, progress_of, size_of
from pphub.errors import NotCached, PphubError, StorageFailed, UsageError
from pphub.units import plain, shown

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from pphub.obtain import Outlook
    from pphub.source import Listing, RemoteFile
    from pphub_cache.store import CachedFile, Snapshot

__all__ = ["run"]

_PACKAGES: Final = (
    "huggingface_hub",
    "requests",
    "numpy",
    "modelscope-hub",
    "paddlepaddle",
    "paddlenlp",
    "torch",
    "transformers",
)


def run(arguments: argparse.Namespace) -> int:
    """Run one command and turn its errors into a message and an exit code; the one place that does."""
    try:
        return _COMMANDS[arguments.command](arguments)
    except PphubError as error:
        return _report(error, as_json=arguments.json)
    except BrokenPipeError:
        raise
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        message = f"the operating system refused{where}: {error.strerror or error}"
        return _report(StorageFailed(message, hint="check permissions and free space"), as_json=arguments.json)
    except Exception as error:
        if os.environ.get("PPHUB_DEBUG"):
            raise
        message = f"this should not happen: {type(error).__name__}: {error}"
        return _report(PphubError(message, hint="set PPHUB_DEBUG=1 for details, and report it"), as_json=arguments.json)


def _report(error: PphubError, *, as_json: bool) -> int:
    if as_json:
        print_json({"error": type(error).__name__, "message": error.message, "hint": error.hint})
    else:
        with contextlib.suppress(OSError):  # the exit code says it, too
            print(plain(f"hub: {error}"), file=sys.stderr, flush=True)
    return error.exit_code


def _print_folder(folder: Path, arguments: argparse.Namespace) -> int:
    if arguments.json:
        print_json({"path": str(folder)})
    else:
        print(folder)
    return 0


def _download(arguments: argparse.Namespace) -> int:
    from pphub.obtain import fetch
    from pphub.select import Selection

    selection = Selection(tuple(arguments.include), tuple(arguments.exclude))
    snapshot = fetch(
        arguments.name,
        arguments.revision,
        arguments.source,
        arguments.offline,
        selection,
        refresh=arguments.refresh,
        progress=progress_of(arguments),
    )
    if arguments.local_dir is None:
        return _print_folder(snapshot.folder, arguments)
    return _print_folder(_copy_out(snapshot, selection.pick(snapshot.files), arguments.local_dir), arguments)


def _copy_out(snapshot: Snapshot, paths: tuple[str, ...], target: str) -> Path:
    """Copies, not links: the user may edit them."""
    from pphub_cache.atomic import explain_os_errors, sync_file, temporary_beside

    folder = Path(target).expanduser().absolute()
    if folder.resolve() == snapshot.folder.resolve():
        return folder
    with explain_os_errors("copy the model", folder):
        for path in paths:
            copy = folder / path
            copy.parent.mkdir(parents=True, exist_ok=True)
            temporary = temporary_beside(copy)
            try:
                shutil.copyfile(snapshot.folder / path, temporary)
                sync_file(temporary)
                temporary.replace(copy)
            finally:
                temporary.unlink(missing_ok=True)
    return folder


def _convert(arguments: argparse.Namespace) -> int:
    from pphub.api import convert

    folder = convert(
        arguments.name,
        arguments.out,
        arguments.to,
        arguments.dtype,
        revision=arguments.revision,
        source=arguments.source,
        offline=arguments.offline,
        progress=progress_of(arguments),
    )
    return _print_folder(folder, arguments)


def _prepare(arguments: argparse.Namespace) -> int:
    from pphub.api import prepare

    folder = prepare(
        arguments.name,
        revision=arguments.revision,
        source=arguments.source,
        offline=arguments.offline,
        progress=progress_of(arguments),
    )
    return _print_folder(folder, arguments)


def _path(arguments: argparse.Namespace) -> int:
    from pphub.cached import cached_path

    folder = cached_path(arguments.name, arguments.revision, arguments.source)
    if folder is None:
        msg = f"{arguments.name} is not in the cache, or not whole"
        raise NotCached(msg, hint=f"hub download {arguments.name}")
    return _print_folder(folder, arguments)


def _plan(arguments: argparse.Namespace) -> int:
    from pphub.obtain import Outlook, plan
    from pphub.select import Selection

    selection = Selection(tuple(arguments.include), tuple(arguments.exclude))
    found, wanted = plan(
        arguments.name,
        arguments.revision,
        arguments.source,
        arguments.offline,
        selection,
        refresh=arguments.refresh,
    )
    document = _outlook_document(found, wanted) if isinstance(found, Outlook) else _plan_document(found, wanted)
    if arguments.json:
        print_json(document)
    elif isinstance(found, Outlook):
        _print_outlook(found, wanted)
    else:
        _print_plan(document)
    return 0


def _print_plan(document: dict[str, Any]) -> None:
    print(f"{document['repo']} at {document['source']}, commit {document['commit']}")
    for file in document["files"]:
        state = "cached" if file["cached"] else "fetch"
        print(f"  {state:6}  {size_of(file['size']):>10}  {file['hash'] or 'no hash':24.24}  {shown(file['path'])}")
    print(f"  to fetch: {size_of(document['bytes_to_fetch'])}")


def _print_outlook(outlook: Outlook, wanted: tuple[str, ...]) -> None:
    print("not in the cache; online, these would be asked, first to last:")
    for source, repo in outlook.places:
        print(f"  {source:6}  {repo}")
    if outlook.source:
        print(f"{outlook.source} would be asked for:")
        for file in outlook.files:
            if file.path in wanted:
                print(f"  {shown(file.path):24}  {_shown_url(file.url)}")


def _outlook_document(outlook: Outlook, wanted: tuple[str, ...]) -> dict[str, Any]:
    return {
        "source": outlook.source,
        "candidates": [{"source": source, "repo": repo} for source, repo in outlook.places],
        "files": [
            {"path": file.path, "size": file.size, "hash": _hash(file), "cached": False, "url": _shown_url(file.url)}
            for file in outlook.files
            if file.path in wanted
        ],
        "bytes_to_fetch": None,
    }


def _shown_url(url: str) -> str:
    return "made from the table that pphub ships" if url.startswith("data:") else url


def _plan_document(found: Snapshot | Listing, wanted: tuple[str, ...]) -> dict[str, Any]:
    from pphub.source import Listing

    files: dict[str, RemoteFile | CachedFile]
    if isinstance(found, Listing):
        files, missing = {file.path: file for file in found.files}, set(wanted)
        if found.folder is not None:
            missing = set()
    else:
        files, missing = dict(found.files), set(found.missing(wanted))
    rows = [
        {"path": path, "size": files[path].size, "hash": _hash(files[path]), "cached": path not in missing}
        for path in wanted
    ]
    return {
        "source": found.source,
        "repo": found.repo,
        "revision": found.revision,
        "commit": found.commit,
        "files": rows,
        "bytes_to_fetch": sum(files[path].size or 0 for path in missing),
    }


def _hash(file: RemoteFile | CachedFile) -> str | None:
    from pphub.source import RemoteFile

    if isinstance(file, RemoteFile):
        return f"{file.digest.algorithm}:{file.digest.hex}" if file.digest else None
    return f"sha256:{file.sha256}" if file.sha256 else file.promised


def _sources(arguments: argparse.Namespace) -> int:
    from pphub.errors import SourceNotInstalled
    from pphub.registry import installed_sources, load_source
    from pphub.settings import source_order, without_password

    order = source_order()
    rows = []
    for info in installed_sources():
        state, endpoint = info.problem, None
        if state is None:
            try:
                endpoint = without_password(load_source(info.scheme).endpoint())
                state = "ready"
            except SourceNotInstalled as error:
                state = error.message
        position = order.index(info.scheme) + 1 if info.scheme in order else None
        rows.append(
            {
                "scheme": info.scheme,
                "order": position,
                "endpoint": endpoint,
                "package": info.package,
                "target": info.target,
                "state": state,
            }
        )
    if arguments.json:
        print_json(rows)
        return 0
    for row in rows:
        shown = row["order"] or "-"
        print(f"{row['scheme']:8} {shown!s:>2}  {row['package']:16} {row['endpoint'] or '-':32} {row['state']}")
    return 0


def _env(arguments: argparse.Namespace) -> int:
    from pphub import __version__
    from pphub.diagnosis import diagnose, mending_command
    from pphub.settings import describe

    settings = describe()
    misfits = diagnose()
    command = mending_command(misfits)
    packages = {"pphub": __version__, "python": sys.version.split()[0]}
    packages |= {name: _installed(name) for name in _PACKAGES}
    if arguments.json:
        rows = [{"name": item.name, "value": item.value, "origin": item.origin} for item in settings]
        problems = [str(misfit) for misfit in misfits]
        paddlenlp = {"imports": not misfits, "problems": problems, "command": command or None}
        print_json({"settings": rows, "packages": packages, "paddlenlp": paddlenlp})
        return 0
    for item in settings:
        print(f"{item.name:22} {item.value:40} {item.origin}")
    for name, installed in packages.items():
        print(f"{name:22} {installed}")
    for misfit in misfits:
        print(f"PaddleNLP cannot be used: {misfit}")
    if command:
        print(f"this mends it: {command}")
    return 0


def _installed(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _serve(arguments: argparse.Namespace) -> int:
    from pphub.serve import serve_forever

    if not 0 <= arguments.port <= 65535:
        msg = f"{arguments.port} is not a port"
        raise UsageError(msg, hint="a number from 0 (any free port) to 65535")

    def ready(url: str) -> None:
        if arguments.json:
            print_json({"url": url})
        else:
            print(url)
        sys.stdout.flush()
        if not arguments.quiet:
            use = f"use it as HF_ENDPOINT={url}, MODELSCOPE_ENDPOINT or PPNLP_ENDPOINT"
            print(f"serving {arguments.folder}; {use}; Ctrl-C ends it", file=sys.stderr)

    serve_forever(Path(arguments.folder).expanduser(), arguments.host, arguments.port, ready)
    return 0


def _align(arguments: argparse.Namespace) -> int:
    from pphub.cli.align import run_align

    return run_align(arguments)


def _publish(arguments: argparse.Namespace) -> int:
    from pphub.cli.publish import run_publish

    return run_publish(arguments)


def _care(arguments: argparse.Namespace) -> int:
    from pphub.cli.care import run_care

    return run_care(arguments)


_COMMANDS: Final[dict[str, Callable[[argparse.Namespace], int]]] = {
    "align": _align,
    "convert": _convert,
    "download": _download,
    "env": _env,
    "list": _care,
    "path": _path,
    "plan": _plan,
    "prepare": _prepare,
    "prune": _care,
    "publish": _publish,
    "remove": _care,
    "serve": _serve,
    "sources": _sources,
    "verify": _care,
}
