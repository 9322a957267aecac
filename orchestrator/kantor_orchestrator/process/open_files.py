"""How many files, connections among them, this process may have open: each shard of an engine needs a dozen or more.

Systems give a process few (1,024, say) though it may have many: it need only ask.
"""

from __future__ import annotations

import errno
import resource
from contextlib import suppress
from pathlib import Path

#: Nobody needs more: and some systems don't take what they say is their most.
MOST = 65_536
#: Fewer than these left: the next connection, or file, may find none.
SCARCE = 16


def raise_limit() -> None:
    """As far as the system lets us, and nobody is asked."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def shortage() -> str:
    """What is the matter if there are too few, with the remedy; empty: all is well, or it can't be known."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return ""
    try:
        used = sum(1 for _ in Path("/dev/fd").iterdir())
    except OSError as error:
        if error.errno not in (errno.EMFILE, errno.ENFILE):
            return ""
        used = limit
    if limit - used >= SCARCE:
        return ""
    return (
        f"this process may have {limit:,} files and connections open, and needs more: raise the limit"
        " (`ulimit -n 65536`, or LimitNOFILE= of its systemd unit) and start it again"
    )
