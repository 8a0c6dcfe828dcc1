"""Files of tensors in the ``.safetensors`` format: memory-mapped, read one by one, or written in parts.

The format (github.com/huggingface/safetensors): 8 bytes of header length, a JSON header of dtype, shape and offsets,
then the data. The safetensors library copies every tensor that it opens, and writes only tensors that are in memory.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CorruptAtlasError
from .atomic import atomic_file

# In the order of the safetensors library: the widest types first, so that all tensors are aligned.
_DTYPES = {"U64": np.uint64, "I64": np.int64, "F64": np.float64, "F32": np.float32, "F16": np.float16, "U8": np.uint8}
_NAMES = {np.dtype(dtype): name for name, dtype in _DTYPES.items()}


@dataclass(frozen=True, slots=True)
class StreamedTensor:
    """A tensor that is written in parts, which together have its shape."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    parts: Iterable[NDArray[Any]]


def map_tensors(path: Path) -> dict[str, NDArray[Any]]:
    """Return every tensor of a file by name, memory-mapped and read-only.

    Raises
    ------
    CorruptAtlasError
        If the file cannot be read or does not match its header.
    """
    try:
        data = np.memmap(path, dtype=np.uint8, mode="r")
        start, entries = _header(bytes(data[:8]), lambda size: bytes(data[8 : 8 + size]))
        tensors = {}
        for name, entry in entries.items():
            first, last = entry["data_offsets"]
            flat = np.asarray(data[start + first : start + last])
            tensors[name] = flat.view(_DTYPES[entry["dtype"]]).reshape(entry["shape"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise CorruptAtlasError.unreadable(path, error) from None
    return tensors


class TensorFile:
    """Reads single tensors of a file; none is kept in memory.

    Raises
    ------
    CorruptAtlasError
        If the file cannot be read or does not match its header.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with path.open("rb") as file:
                self._start, self._entries = _header(file.read(8), file.read)
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise CorruptAtlasError.unreadable(path, error) from None

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor."""
        return tuple(self._entries[name]["shape"])

    def read(self, name: str) -> NDArray[Any]:
        """Return a tensor."""
        try:
            entry = self._entries[name]
            where = self._start + entry["data_offsets"][0]
            tensor = np.empty(entry["shape"], _DTYPES[entry["dtype"]])
            with self._path.open("rb") as file:  # np.fromfile would turn Ctrl-C into SystemError
                file.seek(where)
                if file.readinto(tensor.reshape(-1).view(np.uint8).data) < tensor.nbytes:
                    raise ValueError(f"it ends within {name}")
            return tensor
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            raise CorruptAtlasError.unreadable(self._path, error) from None


def write_tensors(path: Path, tensors: Mapping[str, "StreamedTensor | NDArray[Any]"]) -> None:
    """Write a ``.safetensors`` file atomically, one part at a time; bytes are those of the safetensors library."""
    streams = {
        name: tensor if isinstance(tensor, StreamedTensor) else StreamedTensor(tensor.dtype, tensor.shape, [tensor])
        for name, tensor in tensors.items()
    }
    kinds = list(_DTYPES)
    order = sorted(streams, key=lambda name: (kinds.index(_NAMES[streams[name].dtype]), name))
    header: dict[str, Any] = {}
    end = 0
    for name in order:
        start, end = end, end + math.prod(streams[name].shape) * streams[name].dtype.itemsize
        header[name] = {
            "dtype": _NAMES[streams[name].dtype],
            "shape": list(streams[name].shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with atomic_file(path) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in order:
            for part in streams[name].parts:
                file.write(np.ascontiguousarray(part, dtype=streams[name].dtype).data)
        assert file.tell() == 8 + len(text) + end, path


def _header(length: bytes, read: Any) -> tuple[int, dict[str, Any]]:
    """Return the offset of the data and the entries of the header; ``read(n)`` returns its next n bytes."""
    size = int.from_bytes(length, "little")
    entries = json.loads(read(size))
    entries.pop("__metadata__", None)
    return 8 + size, entries
