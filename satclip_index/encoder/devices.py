"""The devices that torch can use on this machine."""

import torch

from ..errors import EncoderError, one_line


def device_type(name: str) -> str:
    """Return ``cpu`` or ``cuda`` for the name of a device, or raise EncoderError if it cannot be used."""
    return open_device(name).type


def cpu_capability() -> str:
    """Return the instruction set that torch uses on this CPU, on which rounding depends."""
    return torch.backends.cpu.get_cpu_capability()


def best_device() -> str:
    """Return ``cuda`` if there is a CUDA device, else ``cpu``."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def open_device(name: str) -> torch.device:
    """Return a device by name, or raise EncoderError if it cannot be used."""
    try:
        device = torch.device(best_device() if name == "auto" else name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, ImportError, NotImplementedError) as error:
        raise EncoderError(
            f"Device {name!r} cannot be used here ({one_line(error)}). Expected cpu, cuda, cuda:N or auto."
        ) from None
    return device
