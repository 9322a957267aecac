"""The pure core: what a transaction is, and what an entry of the journal means to it.

The standard library (and ``kantor.envelope``, which is as pure) only: no I/O, no clock, no logging, no metrics. Time is
an argument, randomness is a hash. ``tests/unit/test_imports.py`` enforces it.
"""
