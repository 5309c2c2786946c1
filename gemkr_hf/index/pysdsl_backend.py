"""The transform on sdsl-lite's wavelet matrix, through pysdsl (optional; not on PyPI)."""

from types import ModuleType
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gemkr_hf.index.bit_vectors import KERNEL, BitVector, ones_before
from gemkr_hf.index.kernel_tuples import KernelRef

try:
    import pysdsl
except ImportError:  # the default backend does not need it
    pysdsl: ModuleType | None = None  # type: ignore[no-redef]

Int64 = NDArray[np.int64]


@njit(**KERNEL)
def _alive_rows(removed):
    return removed.value.alive


class PysdslWaveletMatrix:
    """Drop-in for ``WaveletMatrix`` on ``pysdsl.WaveletMatrixInt``.

    Args:
        matrix: pysdsl.WaveletMatrixInt over the symbols and one more 0: its rank rejects a position
            that equals its size.
        counts: int64[sigma + 2], number of smaller symbols.
        alphabet: int32[sigma], the token of symbol 1, 2, ...
    """

    def __init__(self, matrix: Any, counts: Int64, alphabet: NDArray[np.int32]) -> None:
        self._matrix = matrix
        self._counts = counts
        self.alphabet = alphabet

    @staticmethod
    def require() -> None:
        """Raise ImportError with instructions if pysdsl is missing."""
        if pysdsl is None:
            raise ImportError(
                "backend='pysdsl' needs pysdsl, which is not on PyPI: build it from "
                "https://github.com/QratorLabs/pysdsl, or use backend='numba'"
            )

    @classmethod
    def build(
        cls, symbols: NDArray[np.uint32], alphabet: NDArray[np.int32], threads: int = 1
    ) -> "PysdslWaveletMatrix":
        """Build from the symbols of the transform, uint32[rows]."""
        cls.require()
        counts = np.zeros(len(alphabet) + 2, dtype=np.int64)
        np.cumsum(np.bincount(symbols, minlength=len(alphabet) + 1), out=counts[1:])
        return cls(pysdsl.WaveletMatrixInt([*symbols.tolist(), 0]), counts, alphabet)

    @property
    def num_rows(self) -> int:
        return int(self._counts[-1])

    @property
    def nbytes(self) -> int:
        return int(self._matrix.size_in_bytes) + self._counts.nbytes + self.alphabet.nbytes

    def extend(self, lower: Int64, upper: Int64, symbols: NDArray[np.int32]) -> tuple[Int64, Int64]:
        """As `WaveletMatrix.extend`."""
        out_lower, out_upper = np.zeros_like(lower), np.zeros_like(upper)
        for row, (low, high, symbol) in enumerate(
            zip(lower.tolist(), upper.tolist(), symbols.tolist(), strict=True)
        ):
            low, high = max(0, low), min(self.num_rows, high)
            if symbol <= 0 or low >= high:
                continue
            first = int(self._counts[symbol])
            low, high = self._matrix.rank(low, symbol), self._matrix.rank(high, symbol)
            if low < high:
                out_lower[row], out_upper[row] = first + low, first + high
        return out_lower, out_upper

    def search(
        self, symbols: NDArray[np.int32], offsets: Int64, lower: Int64, upper: Int64
    ) -> None:
        """As `WaveletMatrix.search`."""
        for row in range(len(lower)):
            one = slice(row, row + 1)
            for symbol in symbols[offsets[row] : offsets[row + 1]]:
                lower[one], upper[one] = self.extend(lower[one], upper[one], np.array([symbol]))

    def successors(
        self, lower: Int64, upper: Int64, lists: KernelRef, removed: KernelRef
    ) -> tuple[Int64, NDArray[np.int32]]:
        """As `WaveletMatrix.successors`; the lists are not used."""
        alive, found = _alive_rows(removed), []
        for low, high in zip(lower.tolist(), upper.tolist(), strict=True):
            low, high = max(0, low), min(self.num_rows, high)
            found.append(
                self._symbols_between(low, high, alive) if low < high else np.empty(0, np.int64)
            )
        offsets = np.zeros(len(lower) + 1, dtype=np.int64)
        np.cumsum([len(symbols) for symbols in found], out=offsets[1:])
        symbols = np.concatenate([np.empty(0, dtype=np.int64), *found])
        return offsets, self.alphabet[symbols - 1]

    def _symbols_between(self, low: int, high: int, alive: BitVector) -> Int64:
        # The lists are as long as the alphabet; only the first `number` entries are valid.
        number, *lists = self._matrix.interval_symbols(low, high)
        symbols, lows, highs = (np.array(part[:number], dtype=np.int64) for part in lists)
        order = np.argsort(symbols)
        order = order[symbols[order] > 0]
        if alive.length[0]:
            firsts = self._counts[symbols]
            order = np.array(
                [
                    index
                    for index in order
                    if ones_before(alive, firsts[index] + highs[index])
                    > ones_before(alive, firsts[index] + lows[index])
                ],
                dtype=np.int64,
            )
        return symbols[order]

    def walk(self, rows: Int64, offsets: Int64) -> NDArray[np.int32]:
        """Tokens before the suffixes of rows, as `walk_rows`."""
        tokens = np.empty(int(offsets[-1]), dtype=np.int32)
        for number, row in enumerate(rows.tolist()):
            for index in range(offsets[number], offsets[number + 1]):
                symbol, row = self.step(row)
                tokens[index] = self.alphabet[symbol - 1]
        return tokens

    def symbols(self) -> NDArray[np.uint32]:
        """As `WaveletMatrix.symbols`."""
        return np.array([self._matrix[row] for row in range(self.num_rows)], dtype=np.uint32)

    def step(self, row: int) -> tuple[int, int]:
        """Symbol of a row of the transform, and the row of the suffix that starts with it."""
        before, symbol = self._matrix.inverse_select(row)
        return symbol, int(self._counts[symbol]) + before


__all__ = ["PysdslWaveletMatrix"]
