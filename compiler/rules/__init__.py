"""The rules of fusion: each file is one family of terms that can be evaluated for less than all rows."""
