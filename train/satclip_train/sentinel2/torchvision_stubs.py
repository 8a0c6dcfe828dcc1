"""Import torchvision with a CPU build of torch: timm and Lightning import it, and use none of its operators."""

import importlib
import re
import sys
import warnings

import torch

_MAX_DECLARED = 8
_DECLARED: list[torch.library.Library] = []  # operators exist as long as the library that declares them


def import_torchvision() -> None:
    """Import torchvision, if it is installed.

    PyPI's torchvision is built for CUDA. With a CPU build of torch, its operators do not load, and the import fails at
    the first missing one. This function declares such operators, without an implementation.
    """
    for _ in range(_MAX_DECLARED):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # its image readers do not load either
                importlib.import_module("torchvision")
        except ModuleNotFoundError:
            return
        except RuntimeError as error:
            missing = re.search(r"operator torchvision::(\w+) does not exist", str(error))
            if not missing:
                raise
            _DECLARED.append(torch.library.Library("torchvision", "FRAGMENT"))  # type: ignore[no-untyped-call]
            _DECLARED[-1].define(f"{missing[1]}(Tensor unused) -> Tensor")  # type: ignore[no-untyped-call]
            for loaded in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
                del sys.modules[loaded]
        else:
            return
