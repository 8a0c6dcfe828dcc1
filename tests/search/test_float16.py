import sys

import numpy as np
import pytest

from satclip_index.search import _float16

from ..conftest import child_environment
from ..processes import finished

EVERY = np.arange(1 << 16, dtype=np.uint16)
FINITE = EVERY[np.isfinite(EVERY.view(np.float16))]


@pytest.mark.parametrize("name", ["half_by_bits", "half_by_instruction", "float_of_half"])
def test_every_finite_half_is_the_float_that_numpy_makes_of_it(name):
    from numba import njit

    if name == "half_by_instruction" and not _float16.converts_halves():
        pytest.skip("this processor has no instruction for it")
    convert = getattr(_float16, name)

    @njit
    def all_of(bits):
        out = np.empty(bits.size, np.float32)
        for i in range(bits.size):
            out[i] = convert(bits[i])
        return out

    found, expected = all_of(FINITE), FINITE.view(np.float16).astype(np.float32)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(np.signbit(found), np.signbit(expected))


def test_a_processor_that_numba_is_told_of_is_not_trusted_to_have_the_instruction():
    program = "from satclip_index.search._float16 import converts_halves; print(converts_halves())"
    done = finished([sys.executable, "-c", program], env=child_environment({"NUMBA_CPU_NAME": "generic"}))
    assert done.stdout.strip() == "False", done.stderr
