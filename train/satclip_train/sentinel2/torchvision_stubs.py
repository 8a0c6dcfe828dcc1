"""Make torchvision loadable beside a CPU build of torch: timm and Lightning import it, and need nothing of it."""

import importlib
import re
import sys
import warnings

import torch

_MOST_MISSING = 8
_DECLARED: list[torch.library.Library] = []  # torch forgets what a library declares when the library goes


def import_torchvision() -> None:
    """Import torchvision, if it is installed.

    PyPI's torchvision is built for CUDA. Beside a CPU build of torch its own operators do not load, and it fails at the
    first that it looks for in vain. Such operators are declared here, without any implementation.
    """
    for _ in range(_MOST_MISSING):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that its image readers did not load either
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
