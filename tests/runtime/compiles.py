"""Counting what XLA compiles."""

from __future__ import annotations

import logging

import jax


class Compiles(logging.Handler):
    """Counts what XLA compiles while it is entered, in every thread."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    @property
    def count(self) -> int:
        return len(self.names)

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if message.startswith("Finished XLA compilation of "):
            self.names.append(message.split()[4])

    def __enter__(self) -> Compiles:
        jax.config.update("jax_log_compiles", True)  # jax.log_compiles() holds in this thread alone
        self.logger = logging.getLogger("jax._src.dispatch")
        self.logger.addHandler(self)
        self.logger.propagate = False
        return self

    def __exit__(self, *exc: object) -> None:
        self.logger.propagate = True
        self.logger.removeHandler(self)
        jax.config.update("jax_log_compiles", False)
