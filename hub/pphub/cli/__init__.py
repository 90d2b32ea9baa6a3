"""The command ``hub``. This module only knows the options; a command's code is imported when it runs."""

from __future__ import annotations

import argparse
import atexit
import contextlib
import gc
import io
import os
import sys
from typing import TYPE_CHECKING, Final, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import TypeAlias

    _Commands: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]

__all__ = ["build_parser", "main", "run"]

_CACHED: Final = "[SCHEME:]NAME[@REVISION]; without a revision, all of them"
_DRY_RUN: Final = "only say what would go"
_EPILOG: Final = """\
a name is [SCHEME:]NAME[@REVISION]:
  bert-base-uncased                     a shortcut, looked up at each source
  hf:org/name@main                      a repository of one source, at a revision
  ./folder  folder/pytorch_model.bin    a model on this disk

exit codes: 0 done; 1 the answer is no; 2 wrong usage; 3 a source or the network failed;
            4 refused as unsafe or corrupt
"""


def build_parser(command: str | None = None) -> argparse.ArgumentParser:
    """The parser of all commands, or of the one that is asked for, which takes a third of the time."""
    parser = argparse.ArgumentParser(
        prog="hub",
        description="Pretrained models by name, from any hub, verified, as live Paddle models.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, add in _COMMANDS.items():
        if command not in _COMMANDS or command == name:
            add(commands)
    return parser


def _common(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("--json", action="store_true", help="print one JSON document on standard output")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress, only the result and errors")
    return parser


def _add_named(
    commands: _Commands,
    name: str,
    summary: str,
    *,
    remote: bool = True,
    metavar: str = "NAME",
) -> argparse.ArgumentParser:
    parser = _common(commands.add_parser(name, help=summary, description=summary.capitalize() + "."))
    parser.add_argument("name", metavar=metavar, help="[SCHEME:]NAME[@REVISION], a folder or a file")
    parser.add_argument("--source", help="the scheme of the one source to use")
    parser.add_argument("--revision", help="branch, tag or commit (default: the source's own)")
    if remote:
        # None, not False: without the option the environment decides.
        parser.add_argument("--offline", action="store_true", default=None, help="open no socket")
    return parser


def _add_choice(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--include", action="append", default=[], metavar="PATTERN", help="files wanted (repeatable)")
    parser.add_argument("--exclude", action="append", default=[], metavar="PATTERN", help="files not wanted")
    parser.add_argument("--refresh", action="store_true", help="ask the source anew, even if the model is cached")


def _add_download(commands: _Commands) -> None:
    parser = _add_named(commands, "download", "fetch a model into the cache; the last line is its folder")
    _add_choice(parser)
    parser.add_argument("--local-dir", metavar="D", help="copy the files to this folder as well, and print it")


def _add_convert(commands: _Commands) -> None:
    summary = "convert a torch checkpoint for Paddle, or back; the last line is the folder"
    parser = _add_named(commands, "convert", summary, metavar="NAME_OR_PATH")
    parser.add_argument("--out", metavar="D", help="folder to write (default: in the cache)")
    parser.add_argument(
        "--to", choices=["paddle", "torch"], default="paddle", help="target framework (default: %(default)s)"
    )
    parser.add_argument("--dtype", metavar="T", help="cast to float32, float16, bfloat16 or float64")


def _add_align(commands: _Commands) -> None:
    from pphub.cli.align import add_align

    summary = "prove that the Paddle model is the torch model; exit 1 if it is not"
    add_align(_add_named(commands, "align", summary, metavar="NAME_OR_PATH"))


def _add_publish(commands: _Commands) -> None:
    from pphub.cli.publish import add_publish

    summary = "lay out a model as BOS has it, ready to be uploaded or served; the last line is the folder"
    add_publish(_add_named(commands, "publish", summary, metavar="NAME_OR_PATH"))


def _add_prepare(commands: _Commands) -> None:
    _add_named(commands, "prepare", "download and convert: the folder that PaddleNLP loads")


def _add_path(commands: _Commands) -> None:
    _add_named(commands, "path", "print the folder of a cached model; exit 1 if it is not cached", remote=False)


def _add_plan(commands: _Commands) -> None:
    _add_choice(_add_named(commands, "plan", "show what would be fetched, from where; fetch nothing"))


def _add_sources(commands: _Commands) -> None:
    _common(commands.add_parser("sources", help="the sources that are installed, and whether they work"))


def _add_env(commands: _Commands) -> None:
    _common(commands.add_parser("env", help="every setting, its value and where it came from"))


def _add_list(commands: _Commands) -> None:
    _common(commands.add_parser("list", help="the models in the cache, what they take up and share"))


def _add_remove(commands: _Commands) -> None:
    parser = _common(commands.add_parser("remove", help="remove models from the cache, and what only they need"))
    parser.add_argument("names", metavar="NAME", nargs="+", help=_CACHED)
    parser.add_argument("--dry-run", action="store_true", help=_DRY_RUN)


def _add_verify(commands: _Commands) -> None:
    parser = _common(commands.add_parser("verify", help="read again what is stored; exit 1 if anything is damaged"))
    which = f"{_CACHED}, or a folder of `hub convert --out` (default: all of the cache)"
    parser.add_argument("name", metavar="NAME", nargs="?", help=which)
    parser.add_argument("--quick", action="store_true", help="compare hashes only: do not make conversions again")
    parser.add_argument("--quarantine", action="store_true", help="move what is damaged aside: it is not stored then")
    parser.add_argument("--refetch", action="store_true", help="the same, then fetch it again; exit 0 if all is right")


def _add_prune(commands: _Commands) -> None:
    parser = _common(commands.add_parser("prune", help="remove from the cache what no model needs"))
    parser.add_argument("--dry-run", action="store_true", help=_DRY_RUN)


def _add_serve(commands: _Commands) -> None:
    parser = _common(commands.add_parser("serve", help="serve a folder of model repositories, as a hub does"))
    parser.add_argument("folder", metavar="DIR", help="holds NAME/ or ORG/NAME/ folders")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port to listen on (default: any free one)")


_COMMANDS: Final[Mapping[str, Callable[[_Commands], None]]] = {
    "download": _add_download,
    "convert": _add_convert,
    "prepare": _add_prepare,
    "path": _add_path,
    "plan": _add_plan,
    "align": _add_align,
    "publish": _add_publish,
    "sources": _add_sources,
    "env": _add_env,
    "list": _add_list,
    "remove": _add_remove,
    "verify": _add_verify,
    "prune": _add_prune,
    "serve": _add_serve,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    if sys.stderr is None:  # closed by who called: nobody reads what is told, and print would take stdout for it
        sys.stderr = io.StringIO()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that the terminal cannot show is no reason to fail
    gc.set_threshold(100_000)  # what importing makes is no garbage, and looking for it costs a tenth of a start
    argv = sys.argv[1:] if argv is None else argv
    parser = build_parser(argv[0] if argv else None)
    arguments = parser.parse_args(argv)
    if arguments.version:
        from pphub import __version__

        print(f"pphub {__version__}")
        return 0
    if arguments.command is None:
        parser.print_help()
        return 2
    from pphub.cli import commands

    try:
        return commands.run(arguments)
    except KeyboardInterrupt:
        print("\nhub: interrupted; what has arrived is kept, and the same command goes on from there", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader went away (`hub plan x | head`); keep Python from complaining when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def run() -> NoReturn:
    """The program ``hub``: run the command line and end the process.

    What was imported is not taken apart first, which would take longer than many a command.
    """
    if sys.argv[1:2] != ["align"]:
        # Nothing else multiplies matrices, and numpy would start a thread a core for that, which spin for a while.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        try:
            code = main()
        except SystemExit as ended:  # --help, or options that make no sense
            code = ended.code if isinstance(ended.code, int) else 0
        for stream in filter(None, (sys.stdout, sys.stderr)):
            stream.flush()
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        code = 141
    except OSError as error:
        with contextlib.suppress(OSError):
            os.write(2, f"hub: the answer could not be written: {error.strerror}\n".encode())
        code = 1
    atexit._run_exitfuncs()
    os._exit(code)
