"""Tensors of a ``.safetensors`` file, mapped into memory instead of read."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CorruptAtlasError

_DTYPES = {"U8": np.uint8, "F16": np.float16, "F32": np.float32, "F64": np.float64, "I64": np.int64, "U64": np.uint64}


def map_tensors(path: Path) -> dict[str, NDArray[Any]]:
    """Return every tensor of a file by name, read-only; pages are read when they are used, and shared by processes.

    Raises
    ------
    CorruptAtlasError
        If the file is not what its header says.

    Notes
    -----
    The format (github.com/huggingface/safetensors): 8 bytes of header length, a JSON header of dtype, shape and
    offsets, then the data. The safetensors library itself copies every tensor that it opens.
    """
    try:
        data = np.memmap(path, dtype=np.uint8, mode="r")
        start = 8 + int(data[:8].view("<u8")[0])
        header = json.loads(bytes(data[8:start]))
        header.pop("__metadata__", None)
        tensors = {}
        for name, entry in header.items():
            first, last = entry["data_offsets"]
            flat = np.asarray(data[start + first : start + last])
            tensors[name] = flat.view(_DTYPES[entry["dtype"]]).reshape(entry["shape"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise CorruptAtlasError(
            f"{path} cannot be read: {' '.join(str(error).split())[:100]}. Build the atlas again."
        ) from None
    return tensors
