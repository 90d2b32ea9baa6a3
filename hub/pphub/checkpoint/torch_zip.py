"""Reads ``pytorch_model.bin`` and other files of ``torch.save`` (zip format), without torch.

The format: a zip of stored (not compressed) records under one top folder: ``data.pkl``, a pickle in which each
storage is a persistent id ``("storage", type, key, device, elements)``, and ``data/<key>``, the raw bytes.
Source: torch/serialization.py and torch/_utils.py of PyTorch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pphub.checkpoint.torch_pickles import TORCH_NAMES, Storage, named_tensors, read_claim, set_state
from pphub.checkpoint.unpickle import Objection, Unpickler
from pphub.checkpoint.zip_records import read_records
from pphub.errors import Corrupt, Refused, UnsafeCheckpoint

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import BinaryIO

    from pphub.checkpoint.tensor import Tensor
    from pphub.checkpoint.zip_records import Record

__all__ = ["read_torch_zip", "refuse_program"]

_LOOKED_UP: Final = frozenset({"data.pkl", "byteorder", "version", ".format_version", ".storage_alignment"})
_DAMAGED: Final = "the file is truncated or damaged; get it again from its source"


def read_torch_zip(path: Path) -> dict[str, Tensor]:
    """The tensors of a state dict, by name, in the file's order; their values stay on disk.

    Raises:
        UnsafeCheckpoint: the file would run code, is a TorchScript program, or lies about its contents.
        Corrupt: it is no zip of torch.save, is truncated, or holds no weights; see ``state_dict``.
    """
    records = read_records(path)
    top = _top_folder(path, records)
    _check_for_program(path, top, records)
    packed = next((name for name, record in records.items() if not record.plain), None)
    if packed is not None:
        msg = f"{path.name}: the record {packed[:80]!r} is compressed or encrypted, which torch.save never does"
        raise UnsafeCheckpoint(msg, hint="save the checkpoint again with torch.save")
    _check_case(path, top, records)
    pickled = records[f"{top}/data.pkl"]
    storages: dict[str, Storage] = {}
    with path.open("rb") as stream:
        _check_byte_order(path, stream, records.get(f"{top}/byteorder"))
        unpickler = Unpickler(
            stream,
            pickled.start + pickled.length,
            path.name,
            TORCH_NAMES,
            persistent=lambda identifier: _find_storage(identifier, top, records, storages),
            build=set_state,
            start=pickled.start,
            large_keys=True,
            size=max(record.start + record.length for record in records.values()),
        )
        root = unpickler.load()
    return named_tensors(path, root)


def refuse_program(path: Path) -> None:
    """Refuse a file that is a TorchScript archive, whatever it is called; pass over all others.

    Raises:
        UnsafeCheckpoint: it is one.
    """
    try:
        records = read_records(path)
        top = _top_folder(path, records)
    except Refused:
        return
    _check_for_program(path, top, records)


def _check_for_program(path: Path, top: str, records: Mapping[str, Record]) -> None:
    inner = [name.removeprefix(f"{top}/").lower() for name in records]
    if any(name == "constants.pkl" or name.startswith("code/") for name in inner):
        msg = f"{path.name} is a TorchScript archive, which is a program and not a checkpoint"
        raise UnsafeCheckpoint(msg, hint="save the weights alone with torch.save(model.state_dict(), …)")


def _check_case(path: Path, top: str, records: Mapping[str, Record]) -> None:
    """Torch finds a record in whatever case, and we do not."""
    for name in records:
        inner = name.removeprefix(f"{top}/")
        if inner != inner.lower() and inner.lower() in _LOOKED_UP:
            msg = f"{path.name}: the record {name[:80]!r} is called {inner.lower()!r} by torch.save"
            raise UnsafeCheckpoint(msg, hint="save the checkpoint again with torch.save")


def _top_folder(path: Path, records: Mapping[str, Record]) -> str:
    tops = {name.partition("/")[0] for name in records}
    if len(tops) != 1 or f"{min(tops)}/data.pkl" not in records:
        msg = f"{path.name} is a zip file, but not one of torch.save: it has no single folder with a data.pkl"
        raise Corrupt(msg, hint="is this the right file? A checkpoint is what torch.save(model.state_dict(), …) writes")
    return tops.pop()


def _check_byte_order(path: Path, stream: BinaryIO, record: Record | None) -> None:
    if record is None:  # torch before 2.1 does not say
        return
    stream.seek(record.start)
    if stream.read(min(record.length, 16)) != b"little":
        msg = f"{path.name} was saved on a big-endian machine, which is not supported"
        raise Corrupt(msg, hint="save it again on an ordinary machine")


def _find_storage(identifier: object, top: str, records: Mapping[str, Record], storages: dict[str, Storage]) -> Storage:
    claim = read_claim(identifier, 0)
    record = records.get(f"{top}/data/{claim.key}")
    if record is None:
        raise Objection(Corrupt, f"the storage {claim.key[:80]!r}, which is not in the file", _DAMAGED)
    if not 0 <= claim.length <= record.length:
        what = f"the storage {claim.key[:80]!r} of {claim.length} bytes, whose record has {record.length} bytes"
        raise Objection(UnsafeCheckpoint, what, _DAMAGED)
    found = storages.setdefault(claim.key, Storage(claim.dtype, claim.typed, record.start, claim.length))
    if (found.dtype, found.typed, found.length) != (claim.dtype, claim.typed, claim.length):
        raise Objection(UnsafeCheckpoint, f"the storage {claim.key[:80]!r} with two types or sizes")  # torch knows one
    return found
