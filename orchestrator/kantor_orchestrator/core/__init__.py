"""The pure core: what a transaction is, and what an entry of the journal means to it.

The standard library, ``kantor.envelope`` and msgspec's records only: no I/O, no clock, no logging, no metrics. Time is an
argument, randomness is a hash (saga-1). ``tests/unit/test_imports.py`` enforces it. The rules: docs/design/saga.md.
"""
