"""The engine: decide, log, act (docs/design/log.md).

A shard is a write-ahead log with a state machine behind it. A decision exists once its record is in the history, and
nothing leaves before: whoever takes the shard over sees every decision that anybody may have acted on, and sends the same
bytes again. A crash or a zombie can repeat a message (same id, same bytes), never contradict one.

The walk of an entry, file by file: ``loop`` (reads the journal, gives each shard its turn: shard-1, shard-2, shard-5) ->
``deciding`` (what does the entry mean? ``core.decide``; log-1, shard-3) -> ``messages`` (the bytes that leave) -> ``writing``
and ``log`` (one record of the history, acknowledged: log-3, log-4) -> ``sending`` (the messages leave: log-2, log-8) -> ``checkpoint``
(state and position, committed behind it, now and then: log-5). Beside the walk: ``shard`` (what a shard is), ``memory`` (its
transactions: shard-13) and ``ended`` (of those that have ended, what the log has: log-9), ``taking`` (taking one over: log-6, log-7), ``timers`` and ``firing`` (what falls due becomes an entry:
shard-17). What a shard holds: docs/design/shard.md.
"""
