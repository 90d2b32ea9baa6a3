"""A folder that is ready to publish: laid out as BOS has it, with the entries of the tables beside it.

::

    DIR/models/community/NAME/…                  what PaddleNLP and pphub ask ``PPNLP_ENDPOINT`` for
    DIR/models/transformers/FAMILY/NAME.pdparams the same weights where those of PaddleNLP's own names are, and
    DIR/models/transformers/FAMILY/NAME-vocab.txt  the vocabulary: what the entry in ``registry.json`` speaks of
    DIR/NAME                                     a link, by which ``hub serve DIR`` has it in the other protocols, too
    DIR/registry.json                            models, by_name: entries in the form of pphub's own tables;
                                                 shortcuts; published: every file with size and hash
    DIR/names.toml                               the shortcuts as lines for ``$PPNLP_HOME/hub/names.toml``
    DIR/SHA256SUMS                               for ``sha256sum -c``

``DIR/models`` is uploaded as it is. Several models share one folder. All of a model is written beside its place,
compared with what its record says, and renamed; the tables come last. What somebody else put there is not overwritten:
what lies in a place of ours must be as we wrote it before, or as we are about to write it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from pphub import settings
from pphub.api import prepare
from pphub.errors import InvalidName, UsageError
from pphub.names import parse
from pphub.progress import choose_progress
from pphub.publishing.model import read_model
from pphub.publishing.placing import check_places, find_present, put_files, read_registry, write_tables
from pphub.publishing.tables import TABLES, with_model
from pphub_cache.atomic import explain_os_errors
from pphub_cache.layout import Layout
from pphub_cache.lock import entry_lock

if TYPE_CHECKING:
    import os

    from pphub_cache.progress import Progress

__all__ = ["publish", "published_name"]

_RESERVED: Final = frozenset({"models", "paddle-hapi", *TABLES})
"""What would hide a part of the layout."""


def publish(
    name: str | os.PathLike[str],
    to: str | os.PathLike[str],
    under: str | None = None,
    *,
    revision: str | None = None,
    source: str | None = None,
    offline: bool | None = None,
    progress: Progress | None = None,
) -> Path:
    """Lay out a model so that the folder can be uploaded to BOS, or served by ``hub serve``, under its name.

    Args:
        name: a model as for :func:`pphub.prepare`: a name, a torch folder, which is converted, or a Paddle folder.
        to: the folder, made if need be; may hold other published models.
        under: the name it gets, ``NAME`` or ``ORG/NAME``; None for the one it has.
        revision: as for :func:`pphub.prepare`.
        source: likewise.
        offline: likewise.
        progress: likewise.

    Returns:
        The folder, absolute.

    Raises:
        UsageError: the name cannot be published under, or something of somebody else's is in the way.
        Corrupt: a file is not what its record says it is.
        ConversionFailed: PaddleNLP could not load it by name, or as for :func:`pphub.prepare`.
        PphubError: see :mod:`pphub.errors`.
    """
    progress = progress or choose_progress()
    root = _root(to)
    chosen = published_name(name, under, revision=revision, source=source)
    prepared = prepare(name, revision=revision, source=source, offline=offline, progress=progress)
    if root.resolve() == prepared.resolve():
        msg = f"{root} is the folder of the model itself, which is never written to"
        raise UsageError(msg, hint="choose another folder for --to")
    model = read_model(prepared, chosen)
    for line in model.notes:
        progress.note(line)
    lock = Layout(settings.home()).lock("publish", str(root.resolve()))
    waiting = f"waiting to publish {chosen}"
    with (
        entry_lock(lock, on_wait=lambda owner: progress.note(f"{waiting}: {owner}")),
        explain_os_errors("publish", root),
    ):
        former = read_registry(root)
        registry = with_model(former, model)
        present = find_present(root, former, model)
        check_places(root, former, registry, model, present)
        put_files(root, model, present)
        write_tables(root, registry)
    return root


def _root(to: str | os.PathLike[str]) -> Path:
    if not str(to):
        msg = "the folder to publish to has no name"
        raise UsageError(msg, hint="give --to a folder")
    root = Path(to).expanduser().absolute()
    if root.exists() and not root.is_dir():
        msg = f"{root} is a file"
        raise UsageError(msg, hint="choose a folder for --to")
    return root


def published_name(
    name: str | os.PathLike[str], under: str | None = None, *, revision: str | None = None, source: str | None = None
) -> str:
    """The name that :func:`publish` gives a model; the arguments are the same.

    Raises:
        UsageError: it cannot be published under.
    """
    ref = parse(str(name), source=source, revision=revision)
    hint = "say NAME or ORG/NAME with --as"
    chosen = under
    if chosen is None:
        chosen = ref.name if ref.kind == "name" else (ref.path if ref.kind == "folder" else ref.path.parent).name
    try:
        whole = parse(chosen, source="bos").name == chosen  # a scheme, so that a folder of this name is not meant
    except InvalidName:
        whole = False
    if not whole:
        msg = f"{chosen!r} is no name to publish under"
        raise UsageError(msg, hint=hint)
    if chosen.split("/")[0] in _RESERVED:
        msg = f"{chosen!r} cannot be published under, since {chosen.split('/')[0]} is a part of the layout"
        raise UsageError(msg, hint=hint)
    return chosen
