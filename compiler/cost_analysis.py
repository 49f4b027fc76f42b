"""What XLA says of a function that it has compiled. It is read and printed without jax."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class CostAnalysis:
    """XLA's own figures of one call of a compiled function. What a backend does not say is None.

    XLA estimates operations and bytes from the instructions of the optimized HLO. It counts the body of a loop once,
    however often it runs, and need not know what a library does that an instruction calls (LAPACK's Cholesky on a CPU):
    where there are such, operations and bytes are those of the rest, and lower bounds.

    Attributes:
        function: of the compiled model, such as ``log_density_and_grad``.
        platform: "cpu", "gpu" or "tpu".
        flops: arithmetic operations and comparisons.
        transcendentals: exponentials, logarithms and the like, which are not among the flops.
        bytes_accessed: that instructions read and write, a value once for each of its readers.
        argument_bytes: of the arguments, the data among them.
        output_bytes: of the results.
        temporary_bytes: of buffers between instructions.
        instructions: in the optimized HLO, those inside of fusions, too.
        loops: how many of these are loops.
        library_calls: how many of these call a library.
    """

    function: str
    platform: str
    flops: int | None
    transcendentals: int | None
    bytes_accessed: int | None
    argument_bytes: int | None
    output_bytes: int | None
    temporary_bytes: int | None
    instructions: int | None
    loops: int | None
    library_calls: int | None

    def __str__(self) -> str:
        figures = [f"{value:,} {what}" for value, what in self._figures() if value is not None]
        said = f"{', '.join(figures) or 'no figures'}{''.join(self._uncounted())}"
        return f"XLA on {self.platform}, {self.function}: {said}"

    def _figures(self) -> Iterator[tuple[int | None, str]]:
        yield self.flops, "flops"
        yield self.transcendentals, "transcendentals"
        yield self.bytes_accessed, "bytes accessed"
        yield self.argument_bytes, "bytes of arguments"
        yield self.output_bytes, "of results"
        yield self.temporary_bytes, "of temporaries"
        yield self.instructions, "instructions"

    def _uncounted(self) -> Iterator[str]:
        """What keeps the operations from being all of them."""
        if self.flops is None:
            return
        if self.loops:
            yield f"; bodies of loops ({self.loops:,}) count once"
        if self.library_calls:
            yield f"; the work of library calls ({self.library_calls:,}) may not count"


__all__ = ["CostAnalysis"]
