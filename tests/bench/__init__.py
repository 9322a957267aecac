"""``make bench``: how fast the whole platform is, on this machine, with everything that runs counted.

    PYTHONPATH=tests python -m bench [--quick] [--only A|B|latency|ratio ...] [--json]

Each benchmark is one module that fills one or more keys of ``.bench/latest.json``; ``__main__`` lists them. What is
measured, how, and what came out: docs/performance.md.
"""
