"""``hub publish``."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

__all__ = ["add_publish", "run_publish"]


def add_publish(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("--to", metavar="DIR", required=True, help="folder to write; may hold other published models")
    parser.add_argument("--as", dest="under", metavar="NAME", help="publish under this name (default: its own)")


def run_publish(arguments: argparse.Namespace) -> int:
    """Run it."""
    from pphub.cli.printing import print_json, progress_of
    from pphub.publishing import publish, published_name
    from pphub.publishing.tables import REGISTRY_FILE

    folder = publish(
        arguments.name,
        arguments.to,
        arguments.under,
        revision=arguments.revision,
        source=arguments.source,
        offline=arguments.offline,
        progress=progress_of(arguments),
    )
    name = published_name(arguments.name, arguments.under, revision=arguments.revision, source=arguments.source)
    if arguments.json:
        registry = json.loads((folder / REGISTRY_FILE).read_bytes())
        shortcut = next(short for short, repos in registry["shortcuts"].items() if repos["bos"] == name)
        document = {"path": str(folder), "name": name, "shortcut": shortcut, **registry["published"][name]}
        print_json({**document, "entry": registry["models"].get(name)})
        return 0
    print(folder)
    if not arguments.quiet:
        print(f"published as {name}; `hub serve` of this folder serves it, or upload its models/", file=sys.stderr)
    return 0
