"""The same saga on somebody else's engine, on the same machine in the same run: what Kantor's numbers are compared with.

Restate (https://restate.dev) in the settings that made it fastest here: one partition, its service behind granian on
HTTP/2. Each peer lives in an environment of its own (``installed``), is loaded by a process there (``restate_load``) and
compared by ours (``comparison``).
"""
