"""Named tuples of arrays that kernels take as one argument.

Numba unpacks a kernel's arguments at every call: the forty arrays of a shard take ten microseconds,
longer than the search for a clue. In a box they are unpacked once.
"""

from typing import Any

from numba import njit, types
from numba.experimental import structref

from gemkr_hf.index.bit_vectors import KERNEL


@structref.register
class _BoxType(types.StructRef):
    """Numba's type of a box: what is in it, as `it`."""


class Box(structref.StructRefProxy):
    """A named tuple that kernels read as ``box.it``. Made by `box`."""


structref.define_boxing(_BoxType, Box)
structref.define_constructor(Box, _BoxType, ["it"])


@njit(**KERNEL)
def box(it: Any) -> Any:
    """Put a named tuple of arrays into a box."""
    return Box(it)


__all__ = ["Box", "box"]
