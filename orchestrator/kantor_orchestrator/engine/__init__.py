"""The engine: decide, log, act (docs/design/log.md).

A shard is a write-ahead log with a state machine behind it. A decision exists once its record is in the history, and
nothing leaves before: whoever takes the shard over sees every decision that anybody may have acted on, and sends the same
bytes again. A crash or a zombie can repeat a message (same id, same bytes), never contradict one.

The walk of an entry, file by file: ``loop`` (reads the journal, gives each shard its turn) -> ``deciding`` (what does the
entry mean? ``core.decide``) -> ``messages`` (the bytes that leave) -> ``log`` (one record of the history, acknowledged)
-> ``sending`` (the messages leave) -> ``cut`` (state and position, committed behind it, now and then). Beside the walk:
``shard`` (what a shard is), ``taking`` (taking one over), ``timers`` (what falls due becomes an entry).
"""
