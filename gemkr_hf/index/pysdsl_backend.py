"""The same wavelet matrix on sdsl-lite's, through pysdsl (optional; not on PyPI)."""

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gemkr_hf.index.bits import get_bit, rank

try:
    import pysdsl
except ImportError:  # the default backend needs nothing of it
    pysdsl: ModuleType | None = None  # type: ignore[no-redef]

Int64 = NDArray[np.int64]


@dataclass(frozen=True)
class PysdslWaveletMatrix:
    """Drop-in for ``WaveletMatrix`` on ``pysdsl.WaveletMatrixInt``.

    Attributes
    ----------
    matrix : pysdsl.WaveletMatrixInt over the symbols and one 0 more: its rank refuses a position
        that equals its size.
    counts : int64[sigma + 2], how many symbols are smaller.
    alphabet : int32[sigma], the token of symbol 1, 2, ...
    """

    matrix: Any
    counts: Int64
    alphabet: NDArray[np.int32]

    @staticmethod
    def require() -> None:
        """Raise ImportError, with what to do, where pysdsl is missing."""
        if pysdsl is None:
            raise ImportError(
                "backend='pysdsl' needs pysdsl, which is not on PyPI: build it from "
                "https://github.com/QratorLabs/pysdsl, or use backend='numba'"
            )

    @classmethod
    def build(
        cls, symbols: NDArray[np.int32], alphabet: NDArray[np.int32]
    ) -> "PysdslWaveletMatrix":
        """From the transform's symbols, int32[rows]."""
        cls.require()
        counts = np.zeros(len(alphabet) + 2, dtype=np.int64)
        np.cumsum(np.bincount(symbols, minlength=len(alphabet) + 1), out=counts[1:])
        return cls(pysdsl.WaveletMatrixInt([*symbols.tolist(), 0]), counts, alphabet)

    @property
    def num_rows(self) -> int:
        return int(self.counts[-1])

    @property
    def nbytes(self) -> int:
        return int(self.matrix.size_in_bytes) + self.counts.nbytes + self.alphabet.nbytes

    def extend(self, lower: Int64, upper: Int64, symbols: NDArray[np.int32]) -> tuple[Int64, Int64]:
        """As `WaveletMatrix.extend`."""
        out_lower, out_upper = np.zeros_like(lower), np.zeros_like(upper)
        for row, (low, high, symbol) in enumerate(
            zip(lower.tolist(), upper.tolist(), symbols.tolist(), strict=True)
        ):
            low, high = max(0, low), min(self.num_rows, high)
            if symbol <= 0 or low >= high:
                continue
            first = int(self.counts[symbol])
            low, high = self.matrix.rank(low, symbol), self.matrix.rank(high, symbol)
            if low < high:
                out_lower[row], out_upper[row] = first + low, first + high
        return out_lower, out_upper

    def search(self, symbols: NDArray[np.int32], offsets: Int64) -> tuple[Int64, Int64]:
        """As `WaveletMatrix.search`."""
        lower = np.zeros(len(offsets) - 1, dtype=np.int64)
        upper = np.full(len(offsets) - 1, self.num_rows, dtype=np.int64)
        for row in range(len(lower)):
            one = slice(row, row + 1)
            for symbol in symbols[offsets[row] : offsets[row + 1]]:
                lower[one], upper[one] = self.extend(lower[one], upper[one], np.array([symbol]))
        return lower, upper

    def successors(self, lower: Int64, upper: Int64) -> tuple[Int64, NDArray[np.int32]]:
        """As `WaveletMatrix.successors`."""
        found = []
        for low, high in zip(lower.tolist(), upper.tolist(), strict=True):
            low, high = max(0, low), min(self.num_rows, high)
            if low >= high:
                found.append(np.empty(0, dtype=np.int64))
                continue
            # The lists are as long as the alphabet; only the first `number` entries are answers.
            number, symbols, _, _ = self.matrix.interval_symbols(low, high)
            symbols = np.sort(np.array(symbols[:number], dtype=np.int64))
            found.append(symbols[symbols > 0])
        offsets = np.zeros(len(lower) + 1, dtype=np.int64)
        np.cumsum([len(symbols) for symbols in found], out=offsets[1:])
        symbols = np.concatenate([np.empty(0, dtype=np.int64), *found])
        return offsets, self.alphabet[symbols - 1]

    def locate(
        self, rows: Int64, marks: NDArray[np.uint64], samples: NDArray[np.uint32], rate: int
    ) -> Int64:
        """As `WaveletMatrix.locate`."""
        positions = np.full(len(rows), -1, dtype=np.int64)
        for number, row in enumerate(rows.tolist()):
            for steps in range(rate):
                if get_bit(marks, row):
                    positions[number] = int(samples[rank(marks, row)]) + steps
                    break
                _, row = self._step(row)
        return positions

    def walk(self, row: int, length: int) -> NDArray[np.int32]:
        """As `WaveletMatrix.walk`."""
        tokens = np.empty(length, dtype=np.int32)
        for number in range(length):
            symbol, row = self._step(row)
            tokens[number] = self.alphabet[symbol - 1]
        return tokens

    def symbols(self) -> NDArray[np.int32]:
        """As `WaveletMatrix.symbols`."""
        return np.array([self.matrix[row] for row in range(self.num_rows)], dtype=np.int32)

    def _step(self, row: int) -> tuple[int, int]:
        before, symbol = self.matrix.inverse_select(row)
        return symbol, int(self.counts[symbol]) + before


__all__ = ["PysdslWaveletMatrix"]
