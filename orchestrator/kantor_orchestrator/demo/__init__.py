"""``make demo``: everything on one machine, 200 orders with faults, and a count that shows that none is half done.

The walk: ``__main__.py`` (signals, the end) -> ``run.py`` (broker, platform, services: started and stopped) ->
``story.py`` (what happens to the orders) -> ``quiet.py`` (until nothing is under way) -> ``verdict.py`` (the outcome).
``children.py`` and ``guard.py`` see to it that no process is left behind, whatever happens.
"""
