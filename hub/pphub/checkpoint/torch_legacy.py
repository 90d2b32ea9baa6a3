"""Reads files of ``torch.save`` in the format before torch 1.6, which is no zip, without torch.

The format: five pickles in a row (a magic number, the version of the format, a dict about the machine, the state
dict, the list of the storages' keys), then for each key, in the list's order, the number of elements in 8 bytes and
the raw bytes. In the state dict a storage is a persistent id ``("storage", type, key, device, elements, view)``;
``view`` is None or ``(key, first element, elements)``. Source: torch/serialization.py of PyTorch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn

from pphub.checkpoint.tensor import DTYPES, file_size
from pphub.checkpoint.torch_pickles import TORCH_NAMES, Storage, is_int, named_tensors, read_claim, set_state
from pphub.checkpoint.unpickle import Objection, Unpickler, kind_of
from pphub.errors import Corrupt, UnsafeCheckpoint

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import BinaryIO

    from pphub.checkpoint.tensor import Tensor

__all__ = ["read_torch_legacy"]

_MAGIC: Final = 0x1950A86A20F9469CFC6C
_VERSION: Final = 1001
_COUNT_BYTES: Final = 8
_DAMAGED: Final = "the file is truncated or damaged; get it again from its source"


def read_torch_legacy(path: Path) -> dict[str, Tensor]:
    """The tensors of a state dict, by name, in the file's order; their values stay on disk.

    Raises:
        UnsafeCheckpoint: the file would run code, or lies about its storages.
        Corrupt: it is another pickle than torch's, is truncated, or holds no weights; see ``state_dict``.
    """
    size = file_size(path)
    storages = _Storages(path.name, size)
    with path.open("rb") as stream:
        pickles = _Pickles(path.name, stream, size)
        _check_head(path.name, pickles)
        root = pickles.next(storages.claim)
        keys = pickles.next()
        storages.place(stream, keys, pickles.position)
    return named_tensors(path, root)


class _Pickles:
    """The pickles at the start of the file, one after the other."""

    def __init__(self, label: str, stream: BinaryIO, size: int) -> None:
        self._label = label
        self._stream = stream
        self._size = size
        self.position = 0

    def next(self, persistent: Callable[[object], object] | None = None) -> object:
        unpickler = Unpickler(
            self._stream,
            self._size,
            self._label,
            TORCH_NAMES,
            persistent=persistent,
            build=set_state,
            start=self.position,
            large_keys=True,
        )
        value = unpickler.load()
        self.position = unpickler.position
        return value


def _check_head(label: str, pickles: _Pickles) -> None:
    magic = pickles.next()
    if not is_int(magic) or magic != _MAGIC:
        msg = f"{label} is a pickle, but none of torch.save: it starts with {kind_of(magic)}, not with torch's number"
        raise Corrupt(msg, hint="is this the right file? A checkpoint is what torch.save(model.state_dict(), …) writes")
    version = pickles.next()
    if not is_int(version) or version != _VERSION:
        shown = version if is_int(version) else kind_of(version)
        msg = f"{label} is in torch's old format, version {shown}, and only {_VERSION} is known"
        raise Corrupt(msg, hint=_DAMAGED)
    machine = pickles.next()
    if type(machine) is not dict or machine.get("protocol_version") != _VERSION:
        msg = f"{label} does not say of which machine it is, as torch's old format does, but holds {kind_of(machine)}"
        raise Corrupt(msg, hint=_DAMAGED)
    if machine.get("little_endian") is not True:
        msg = f"{label} was saved on a big-endian machine, which is not supported"
        raise Corrupt(msg, hint="save it again on an ordinary machine")


class _Storages:
    """The storages that the state dict names; where they are is known only after it."""

    def __init__(self, label: str, size: int) -> None:
        self._label = label
        self._size = size
        self._roots: dict[str, Storage] = {}
        self._views: dict[str, tuple[Storage, Storage, int]] = {}  # key → view, what it is of, its first byte there

    def claim(self, identifier: object) -> Storage:
        """Turn a persistent id into a storage without a place."""
        claim = read_claim(identifier, 1)
        [view] = claim.rest
        # The keys are numbers of the machine's, so no name is longer.
        if not 0 <= claim.length <= self._size or len(claim.key) > 64:
            what = f"the storage {claim.key[:80]!r} of {claim.length} bytes in a file of {self._size}"
            raise Objection(UnsafeCheckpoint, what, _DAMAGED)
        if claim.key in self._views:
            self._refuse_both(claim.key)
        root = self._roots.setdefault(claim.key, Storage(claim.dtype, claim.typed, -1, claim.length))
        if (root.dtype, root.typed, root.length) != (claim.dtype, claim.typed, claim.length):
            raise Objection(UnsafeCheckpoint, f"the storage {claim.key!r} with two types or sizes")
        return root if view is None else self._view(root, view)

    def _view(self, root: Storage, view: object) -> Storage:
        match view:
            case (str(key), first, count) if is_int(first) and is_int(count) and len(key) <= 64:
                itemsize = DTYPES[root.dtype].itemsize
                begin, length = first * itemsize, count * itemsize
                if not 0 <= begin <= begin + length <= root.length:
                    what = f"the part {key!r} of a storage of {root.length} bytes, from {begin} on for {length}"
                    raise Objection(UnsafeCheckpoint, what, _DAMAGED)
                if key in self._roots:
                    self._refuse_both(key)
                made = (Storage(root.dtype, root.typed, -1, length), root, begin)
                known = self._views.setdefault(key, made)
                if (known[0].length, known[1:]) != (length, made[1:]):
                    raise Objection(UnsafeCheckpoint, f"the part {key!r} of a storage, told twice and differently")
                return known[0]
        raise Objection(UnsafeCheckpoint, "a part of a storage that is described wrongly")

    def _refuse_both(self, key: str) -> NoReturn:
        """Torch keeps both in one dict, and the one that comes first is taken for the other."""
        raise Objection(UnsafeCheckpoint, f"the key {key!r} both for a storage and for a part of one")

    def place(self, stream: BinaryIO, keys: object, position: int) -> None:
        """Find the storages' bytes.

        Args:
            stream: the file.
            keys: what the last pickle says of their order.
            position: where the last pickle ends.

        Raises:
            UnsafeCheckpoint: the list, or what stands at the places, is not what the state dict says.
            Corrupt: the file ends before they do.
        """
        if type(keys) is not list or not all(type(key) is str for key in keys):
            self._lies(f"its list of storages is {kind_of(keys)}, or not of texts")
        if len(keys) != len(set(keys)) or set(keys) != set(self._roots):
            self._lies(f"it lists {len(keys)} storages, which are not the {len(self._roots)} that its tensors name")
        for key in keys:
            storage = self._roots[key]
            stream.seek(position)
            count = int.from_bytes(stream.read(_COUNT_BYTES), "little", signed=True)
            storage.start = position + _COUNT_BYTES
            position = storage.start + storage.length
            if position > self._size:
                msg = f"{self._label} is cut off: storage {key[:80]!r} ends at byte {position} of {self._size}"
                raise Corrupt(msg, hint=_DAMAGED)
            if count * DTYPES[storage.dtype].itemsize != storage.length:
                self._lies(f"at byte {storage.start} are {count} elements, and its tensors say {storage.length} bytes")
        if position != self._size:
            self._lies(f"there are {self._size - position} bytes behind the last storage")
        for view, root, begin in self._views.values():
            view.start = root.start + begin

    def _lies(self, what: str) -> NoReturn:
        msg = f"{self._label} is no file that torch.save writes: {what}"
        raise UnsafeCheckpoint(msg, hint="save the checkpoint again with torch.save, or use model.safetensors")
