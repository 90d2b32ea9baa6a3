"""What the names in torch's pickles stand for, in the zip format and in the old one; nothing of a tensor is read.

Source: torch/_utils.py, torch/_tensor.py and torch/serialization.py of PyTorch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final, TypeGuard

from pphub.checkpoint.numpy_pickles import NUMPY_NAMES, set_array_state
from pphub.checkpoint.state_dict import find_state_dict
from pphub.checkpoint.tensor import DTYPES, MAX_DIMENSIONS, Tensor, check_claims
from pphub.checkpoint.unpickle import Function, Marker, Objection, Unsupported
from pphub.errors import Corrupt, UnsafeCheckpoint

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pphub.checkpoint.unpickle import Names

__all__ = ["TORCH_NAMES", "Claim", "Storage", "is_int", "named_tensors", "read_claim", "set_state"]

_STORAGE_DTYPES: Final = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}
_UNTYPED: Final = "UntypedStorage"  # bytes; the dtype is said by the tensor
_FOREIGN_STORAGES: Final = (
    "ComplexFloatStorage",
    "ComplexDoubleStorage",
    "QInt8Storage",
    "QUInt8Storage",
    "QInt32Storage",
    "QUInt4x2Storage",
    "QUInt2x4Storage",
)
_FOREIGN_DTYPES: Final = (
    "complex32",
    "complex64",
    "complex128",
    "float4_e2m1fn_x2",
    "bits8",
    "bits16",
    "bits1x8",
    "bits2x4",
    "bits4x2",
    "qint8",
    "quint8",
    "qint32",
    "quint4x2",
    "quint2x4",
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in range(1, 8)),
)
_CONVERT: Final = "convert the checkpoint to float32, float16 or bfloat16 first"
_DTYPE_PREFIX: Final = "torch."
_MAX_ATTRIBUTES: Final = 256  # the same dict can be handed over again and again
_ATTRIBUTES_OF_VALUES: Final = frozenset({"data", "real", "imag", "names"})  # which torch.Tensor lets be set


@dataclass(frozen=True, slots=True)
class Claim:
    """What a pickle says of a storage.

    Attributes:
        dtype: a key of ``DTYPES``; uint8 for one that is untyped.
        typed: whether the storage says of which dtype it is.
        key: its name in the file.
        length: its bytes.
        rest: what only the old format says.
    """

    dtype: str
    typed: bool
    key: str
    length: int
    rest: tuple[object, ...]


@dataclass(slots=True, eq=False)
class Storage:
    """Where a storage is in the file; in the old format that is known after the pickle."""

    kind: ClassVar[str] = "storage"
    dtype: str
    typed: bool
    start: int
    length: int


@dataclass(frozen=True, slots=True)
class _View:
    """A tensor before it has a name."""

    kind: ClassVar[str] = "tensor"
    storage: Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Other:
    """A harmless value that is no tensor."""

    kind: ClassVar[str] = "value of another kind"


_OTHER: Final = _Other()


def read_claim(identifier: object, rest: int) -> Claim:
    """Take apart the persistent id of a storage.

    Args:
        identifier: what the pickle has.
        rest: how many values follow the five that both formats have.

    Raises:
        Objection: it is no storage, or one of a type that is not supported.
    """
    match identifier:
        case ("storage", Marker(value=kind), str(key), str(), count, *more) if is_int(count) and len(more) == rest:
            dtype = "uint8" if kind == _UNTYPED else _STORAGE_DTYPES.get(kind)
            if dtype is not None:
                return Claim(dtype, kind != _UNTYPED, key, count * DTYPES[dtype].itemsize, tuple(more))
    match identifier:
        case ("storage", Marker(value=kind), *_) if kind in _FOREIGN_STORAGES:
            raise Objection(Corrupt, f"a storage of type {kind}, which is not supported", _CONVERT)
    raise Objection(UnsafeCheckpoint, "a persistent id that is no storage")


# -- stand-ins -----------------------------------------------------------------------------------------------


def _rebuild_tensor(
    storage: object,
    offset: object,
    shape: object,
    strides: object,
    _requires_grad: object = None,
    _hooks: object = None,
    metadata: object = None,
) -> _View:
    _check_view(storage, metadata)
    if not isinstance(storage, Storage) or not storage.typed:
        raise Objection(UnsafeCheckpoint, "a tensor of an UntypedStorage that does not say its dtype")
    return _view(storage, storage.dtype, offset, shape, strides)


def _rebuild_tensor_v3(
    storage: object,
    offset: object,
    shape: object,
    strides: object,
    _requires_grad: object,
    _hooks: object,
    dtype: object,
    metadata: object = None,
) -> _View:
    _check_view(storage, metadata)
    if not isinstance(storage, Storage) or not isinstance(dtype, Marker) or not dtype.value.startswith(_DTYPE_PREFIX):
        raise Objection(UnsafeCheckpoint, "a tensor whose dtype is none")
    name = dtype.value.removeprefix(_DTYPE_PREFIX)
    if name not in DTYPES:
        raise Objection(Corrupt, f"a tensor of the dtype {name}, which is not supported", _CONVERT)
    return _view(storage, name, offset, shape, strides)


def _check_view(storage: object, metadata: object) -> None:
    if not isinstance(storage, Storage):
        raise Objection(UnsafeCheckpoint, "a tensor without a storage")
    if metadata is not None and (type(metadata) is not dict or metadata):
        what = "a tensor that is negated or conjugated only when it is read, which is not supported"
        raise Objection(Corrupt, what, "save it again after .resolve_neg() and .resolve_conj()")


def _view(storage: Storage, dtype: str, offset: object, shape: object, strides: object) -> _View:
    if not is_int(offset):
        raise Objection(UnsafeCheckpoint, "a tensor without an offset that is an integer")
    return _View(storage, dtype, offset, _integers(shape), _integers(strides))


def _rebuild_parameter(data: object, *_rest: object) -> _View:
    if not isinstance(data, _View):
        raise Objection(UnsafeCheckpoint, "a parameter without a tensor")
    return data


def _rebuild_parameter_with_state(data: object, _requires_grad: object, _hooks: object, state: object) -> _View:
    _check_attributes(state)
    return _rebuild_parameter(data)


def _check_attributes(state: object) -> None:
    """Attributes are not weights, but torch sets them, and with some of them the weights are others."""
    parts = state if type(state) is tuple and len(state) == 2 else (state,)
    for part in parts:
        if part is not None and (type(part) is not dict or len(part) > _MAX_ATTRIBUTES):
            raise Objection(UnsafeCheckpoint, "a tensor with attributes that are no dict, or far too many")
        for name in part or ():
            if type(name) is not str or name in _ATTRIBUTES_OF_VALUES or name.startswith("__"):
                raise Objection(UnsafeCheckpoint, f"a tensor whose attribute {str(name)[:80]!a} is set to something")


def _rebuild_from_type(function: object, kind: object, arguments: object, state: object = None) -> _View:
    """A tensor with attributes of its own, such as a buffer."""
    # Of these functions only, so that none can be wrapped in itself a thousand times.
    if not isinstance(function, Function) or function.call not in (_rebuild_tensor, _rebuild_tensor_v3):
        raise Objection(UnsafeCheckpoint, "a tensor made by a function that makes none")
    is_plain = kind == Marker("Tensor") or (isinstance(kind, Function) and kind.call is _rebuild_parameter)
    if not is_plain or type(arguments) is not tuple or len(arguments) > 8:
        raise Objection(UnsafeCheckpoint, "a tensor of a class that is not torch's")
    _check_attributes(state)
    view = function.call(*arguments)
    assert isinstance(view, _View)  # noqa: S101
    return view


def _ordered_dict(*items: object) -> dict[object, object]:
    """``OrderedDict()``, or with ``[[key, value], …]``, as Python 2 has it."""
    if not items:
        return {}
    [pairs] = items if len(items) == 1 else [None]
    if type(pairs) is not list or not all(type(pair) in (list, tuple) and len(pair) == 2 for pair in pairs):
        raise Objection(UnsafeCheckpoint, "an OrderedDict with contents that are no pairs")
    if not all(type(key) is str for key, _value in pairs):
        raise Objection(UnsafeCheckpoint, "an OrderedDict with a key that is no text")
    result = dict(pairs)
    pairs[:] = [None]  # a list that could be handed over again and again would be copied as often
    return result


def _default_dict(*factory: object) -> dict[object, object]:
    if len(factory) > 1:
        raise Objection(UnsafeCheckpoint, "a defaultdict with contents of its own")
    return {}


def _other(*_arguments: object) -> _Other:
    return _OTHER


def is_int(value: object) -> TypeGuard[int]:
    """Whether a value is an integer and no bool."""
    return type(value) is int


def _integers(values: object = ()) -> tuple[int, ...]:
    # The length comes first: the same long tuple can be handed over again and again.
    if type(values) is not tuple or len(values) > MAX_DIMENSIONS or not all(map(is_int, values)):
        raise Objection(UnsafeCheckpoint, f"a shape or strides that are no tuple of up to {MAX_DIMENSIONS} integers")
    return values


def set_state(target: object, state: object) -> object:
    """What BUILD does: attributes, such as the ``_metadata`` of a state dict, are not weights."""
    if type(target) is dict:
        return target
    if isinstance(target, _View):
        # Whether gradients are wanted, and hooks, as torch before 0.4 has it; another state would be other weights.
        match state:
            case (bool(), bool(), _):
                return target
        raise Objection(UnsafeCheckpoint, "a tensor that is replaced by its state")
    return set_array_state(target, state)


def _names() -> Names:
    names: dict[str, Callable[..., object] | Marker | Unsupported] = {
        **NUMPY_NAMES,
        "collections OrderedDict": _ordered_dict,
        "torch Size": _integers,
        "torch Tensor": Marker("Tensor"),
        "torch.nn.parameter Parameter": _rebuild_parameter,
        "torch.nn.parameter Buffer": _rebuild_parameter,
        "torch._tensor _rebuild_from_type": _rebuild_from_type,
        "torch._tensor _rebuild_from_type_v2": _rebuild_from_type,
        # What stands beside the weights in checkpoints of a training run.
        "torch device": _other,
        "collections defaultdict": _default_dict,
        **{f"{m} {n}": Marker(n) for m in ("builtins", "__builtin__") for n in ("dict", "list", "int", "float", "str")},
        "collections Counter": _other,
        **{f"{m} set": _other for m in ("builtins", "__builtin__")},
    }
    rebuilt: dict[str, Callable[..., object] | Marker | Unsupported] = {
        "_rebuild_tensor": _rebuild_tensor,
        "_rebuild_tensor_v2": _rebuild_tensor,
        "_rebuild_tensor_v3": _rebuild_tensor_v3,
        "_rebuild_parameter": _rebuild_parameter,
        "_rebuild_parameter_with_state": _rebuild_parameter_with_state,
        "_rebuild_qtensor": Unsupported("a quantized tensor"),
        "_rebuild_sparse_tensor": Unsupported("a sparse tensor"),
        "_rebuild_sparse_csr_tensor": Unsupported("a sparse tensor"),
        "_rebuild_nested_tensor": Unsupported("a nested tensor"),
        "_rebuild_meta_tensor_no_storage": Unsupported("a meta tensor, which has no values"),
        "_rebuild_wrapper_subclass": Unsupported("a tensor subclass"),
        "_rebuild_device_tensor_from_numpy": Unsupported("a tensor of another device, such as XLA"),
        "_rebuild_device_tensor_from_cpu_tensor": Unsupported("a tensor of another device, such as XLA"),
        "_rebuild_xla_tensor": Unsupported("a tensor of another device, such as XLA"),
    }
    names.update({f"torch._utils {name}": value for name, value in rebuilt.items()})
    for storage in (*_STORAGE_DTYPES, *_FOREIGN_STORAGES):
        for module in ("torch", "torch.cuda"):
            names[f"{module} {storage}"] = Marker(storage)
    for module in ("torch", "torch.storage"):
        names[f"{module} {_UNTYPED}"] = Marker(_UNTYPED)
    for dtype in (*DTYPES, *_FOREIGN_DTYPES):
        names[f"torch {dtype}"] = Marker(_DTYPE_PREFIX + dtype)
    return names


TORCH_NAMES: Final = _names()
"""The allow-list for what torch.save writes; states go to :func:`set_state`."""


def named_tensors(path: Path, root: object) -> dict[str, Tensor]:
    """The tensors of a state dict, by name, when the places of their storages are known.

    Raises:
        Corrupt: the file holds no state dict, or several.
        UnsafeCheckpoint: a tensor reaches outside its storage, or all together claim far more than the file holds.
    """
    tensors: dict[str, Tensor] = {}
    for name, view in find_state_dict(path.name, root, lambda value: isinstance(value, _View)).items():
        if isinstance(view, _View):
            storage = view.storage
            tensors[name] = Tensor(
                name, view.dtype, view.shape, view.strides, path, storage.start, storage.length, view.offset
            )
    check_claims(path, tensors)
    return tensors
