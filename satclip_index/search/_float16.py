"""Half-precision numbers in compiled code, where numba has no type for them."""

import platform
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import config, njit, types
from numba.extending import intrinsic


def converts_halves() -> bool:
    """Return whether this processor has an instruction for it: F16C on x86, always on 64-bit ARM.

    Where the compiler is told of another processor (NUMBA_CPU_NAME, NUMBA_CPU_FEATURES), it is not relied on: without
    the instruction LLVM would call a function that is not there.
    """
    if getattr(config, "CPU_NAME", None) or getattr(config, "CPU_FEATURES", None):
        return False
    if platform.machine().lower() in ("aarch64", "arm64"):
        return True
    return bool(binding.get_host_cpu_features().get("f16c"))


@njit(cache=True, inline="always")
def half_by_bits(bits):
    """Return the float32 of a finite half-precision number, given its bits (IEEE 754 binary16), by arithmetic."""
    wide = np.uint32(bits)
    sign, rest = (wide & np.uint32(0x8000)) << np.uint32(16), (wide & np.uint32(0x7FFF)) << np.uint32(13)
    # The exponent's bias grows from 15 to 127; multiplying does so for subnormal numbers as well.
    return np.uint32(sign | rest).view(np.float32) * np.float32(2.0**112)


@intrinsic
def half_by_instruction(typing_context, bits):
    """Return the float32 of a half-precision number, given its bits."""

    def generate(context, builder, signature, arguments):
        return builder.fpext(builder.bitcast(arguments[0], ir.HalfType()), ir.FloatType())

    return types.float32(types.uint16), generate


float_of_half: Any = half_by_instruction if converts_halves() else half_by_bits
