"""Named tuples of arrays that kernels take as one argument.

Numba unpacks a kernel's arguments at every call: the forty arrays of a shard take ten microseconds,
longer than the search for a clue. A reference is unpacked once.
"""

from typing import Any

from numba import njit, types
from numba.experimental import structref

from gemkr_hf.index.bit_vectors import KERNEL


@structref.register
class _KernelRefType(types.StructRef):
    """Numba's type of a `KernelRef` with the attribute `value`."""


class KernelRef(structref.StructRefProxy):
    """A named tuple that kernels read as ``ref.value``. Created by `kernel_ref`."""


structref.define_boxing(_KernelRefType, KernelRef)
structref.define_constructor(KernelRef, _KernelRefType, ["value"])


@njit(**KERNEL)
def kernel_ref(value: Any) -> Any:
    """Wrap a named tuple of arrays."""
    return KernelRef(value)


__all__ = ["KernelRef", "kernel_ref"]
