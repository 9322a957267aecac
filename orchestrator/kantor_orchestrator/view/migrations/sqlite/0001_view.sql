-- Times are milliseconds since the epoch; empty text and 0 mean: none.

-- no: in the order of first sight, so that rows of one time lie together and the newest are found at the end.
CREATE TABLE transactions (
    no INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    shard INTEGER NOT NULL, -- -1: not known yet
    saga TEXT NOT NULL,
    version INTEGER NOT NULL,
    status TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    ended_at INTEGER NOT NULL,
    reason TEXT NOT NULL,
    last_error TEXT NOT NULL,
    waiting_on TEXT NOT NULL, -- whom it is waiting on: JSON list of names
    open_steps TEXT NOT NULL, -- JSON list of paths
    due INTEGER NOT NULL, -- when the first of their timers goes off
    open_incidents INTEGER NOT NULL,
    parts INTEGER NOT NULL -- of its timeline
) STRICT;
-- Nearly all are completed or observed, and a scan from the newest finds those; the index is for the few others.
CREATE INDEX transactions_by_status ON transactions (status, no) WHERE status NOT IN ('completed', 'observed');

-- All that was said and done, in parts: what one batch told of one transaction. A row for each record would cost more
-- than the rest of the projection.
CREATE TABLE timeline (
    place INTEGER PRIMARY KEY, -- no * 100,000 + part
    messages TEXT NOT NULL, -- from the journal and the commands' topics: JSON, as facts.py writes it
    moves BLOB NOT NULL -- the history's own records, each after its offset and length
) STRICT;

-- With which the transitions were written.
CREATE TABLE schemas (id INTEGER PRIMARY KEY, schema TEXT NOT NULL) STRICT;

CREATE TABLE keys (
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    no INTEGER NOT NULL,
    PRIMARY KEY (name, value, no)
) STRICT, WITHOUT ROWID;

CREATE TABLE incidents (
    no INTEGER NOT NULL,
    position INTEGER NOT NULL, -- offset in the history of the transition that opened it
    kind TEXT NOT NULL,
    step TEXT NOT NULL,
    reason TEXT NOT NULL,
    opened_at INTEGER NOT NULL,
    closed_at INTEGER NOT NULL,
    PRIMARY KEY (no, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX incidents_open ON incidents (opened_at) WHERE closed_at = 0;

-- How many transactions there are, kept while they change: counting millions would take seconds.
CREATE TABLE tallies (
    saga TEXT NOT NULL,
    status TEXT NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (saga, status)
) STRICT, WITHOUT ROWID;

-- Each intake process counts from its own start.
CREATE TABLE uncorrelated (
    topic TEXT NOT NULL,
    intake TEXT NOT NULL,
    count INTEGER NOT NULL,
    reason TEXT NOT NULL,
    sample TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (topic, intake)
) STRICT, WITHOUT ROWID;

-- What a saga's version consists of: JSON, as sagas.SagaFacts writes it.
CREATE TABLE sagas (
    saga TEXT NOT NULL,
    version INTEGER NOT NULL,
    facts TEXT NOT NULL,
    PRIMARY KEY (saga, version)
) STRICT, WITHOUT ROWID;

-- Next offset to read, in the same SQL transaction as what was read: the truth. topic_id: a topic that was recreated
-- under the same name is another one.
CREATE TABLE positions (
    topic TEXT NOT NULL,
    partition INTEGER NOT NULL,
    position INTEGER NOT NULL,
    topic_id TEXT NOT NULL,
    PRIMARY KEY (topic, partition)
) STRICT, WITHOUT ROWID;

-- view, intake: when they last gave a sign of life.
CREATE TABLE seen (name TEXT PRIMARY KEY, at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
