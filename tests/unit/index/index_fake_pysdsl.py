"""The part of pysdsl's `WaveletMatrixInt` that the backend uses, with its refusals, on lists."""


class WaveletMatrixInt:
    def __init__(self, symbols: list[int]) -> None:
        self._symbols = list(symbols)
        self.sigma = len(set(symbols))
        self.size_in_bytes = 8 * len(symbols)

    def __getitem__(self, row: int) -> int:
        return self._symbols[row]

    def rank(self, position: int, symbol: int) -> int:
        if position >= len(self._symbols):
            raise IndexError(position)
        return self._symbols[:position].count(symbol)

    def inverse_select(self, position: int) -> tuple[int, int]:
        symbol = self._symbols[position]
        return self.rank(position, symbol), symbol

    def interval_symbols(
        self, lower: int, upper: int
    ) -> tuple[int, list[int], list[int], list[int]]:
        found = sorted(set(self._symbols[lower:upper]), reverse=True)
        rest = [0] * (self.sigma - len(found))
        ranks = [[self._symbols[:end].count(s) for s in found] for end in (lower, upper)]
        return len(found), found + rest, ranks[0] + rest, ranks[1] + rest
