"""Expressions that lose digits, overflow or have no derivative where their value has, and what says the same safely."""
