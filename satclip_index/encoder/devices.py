"""The devices of this machine that torch can use."""

import torch

from ..errors import EncoderError, one_line


def device_kind(name: str) -> str:
    """Return ``cpu`` or ``cuda`` for the name of a device of this machine, or raise EncoderError."""
    return device_of(name).type


def processor() -> str:
    """Return the kind of instructions that torch uses on this processor: others round in other ways."""
    return torch.backends.cpu.get_cpu_capability()


def best_device() -> str:
    """Return ``cuda`` if there is a CUDA device, else ``cpu``."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def device_of(name: str) -> torch.device:
    """Return a device of this machine, or raise EncoderError."""
    try:
        device = torch.device(best_device() if name == "auto" else name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, ImportError, NotImplementedError) as error:
        raise EncoderError(
            f"Device {name!r} cannot be used here ({one_line(error)}). Expected cpu, cuda, cuda:N or auto."
        ) from None
    return device
