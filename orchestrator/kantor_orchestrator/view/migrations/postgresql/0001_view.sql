-- The tables of ../sqlite, where the comments are. Text is compared as SQLite does, byte by byte: COLLATE "C".

CREATE TABLE transactions (
    no BIGINT PRIMARY KEY,
    id TEXT COLLATE "C" NOT NULL,
    shard BIGINT NOT NULL,
    saga TEXT COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    status TEXT COLLATE "C" NOT NULL,
    started_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    ended_at BIGINT NOT NULL,
    reason TEXT COLLATE "C" NOT NULL,
    last_error TEXT COLLATE "C" NOT NULL,
    waiting_on TEXT COLLATE "C" NOT NULL,
    open_steps TEXT COLLATE "C" NOT NULL,
    due BIGINT NOT NULL,
    open_incidents BIGINT NOT NULL,
    parts BIGINT NOT NULL
) WITH (fillfactor = 70); -- each row changes a few times while it is young
-- An id may be longer than a B-tree takes (2,704 bytes), and one such message must not stop the view: a hash index finds
-- whole ids, a B-tree beginnings. That no id comes twice is the one writer's care.
CREATE INDEX transactions_by_id ON transactions USING hash (id);
CREATE INDEX transactions_by_prefix ON transactions (left(id, 500) COLLATE "C");
CREATE INDEX transactions_by_status ON transactions (status, no) WHERE status NOT IN ('completed', 'observed');

CREATE TABLE timeline (
    place BIGINT PRIMARY KEY,
    messages TEXT NOT NULL,
    moves BYTEA NOT NULL
);

CREATE TABLE schemas (id BIGINT PRIMARY KEY, schema TEXT NOT NULL);

CREATE TABLE keys (
    name TEXT COLLATE "C" NOT NULL,
    value TEXT COLLATE "C" NOT NULL,
    no BIGINT NOT NULL,
    PRIMARY KEY (name, value, no)
);

CREATE TABLE incidents (
    no BIGINT NOT NULL,
    position BIGINT NOT NULL,
    kind TEXT NOT NULL,
    step TEXT NOT NULL,
    reason TEXT NOT NULL,
    opened_at BIGINT NOT NULL,
    closed_at BIGINT NOT NULL,
    PRIMARY KEY (no, position)
);
CREATE INDEX incidents_open ON incidents (opened_at) WHERE closed_at = 0;

CREATE TABLE tallies (
    saga TEXT COLLATE "C" NOT NULL,
    status TEXT COLLATE "C" NOT NULL,
    count BIGINT NOT NULL,
    PRIMARY KEY (saga, status)
);

CREATE TABLE uncorrelated (
    topic TEXT COLLATE "C" NOT NULL,
    intake TEXT COLLATE "C" NOT NULL,
    count BIGINT NOT NULL,
    reason TEXT NOT NULL,
    sample TEXT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (topic, intake)
);

CREATE TABLE sagas (
    saga TEXT COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    facts TEXT NOT NULL,
    PRIMARY KEY (saga, version)
);

CREATE TABLE positions (
    topic TEXT COLLATE "C" NOT NULL,
    partition BIGINT NOT NULL,
    position BIGINT NOT NULL,
    topic_id TEXT NOT NULL,
    PRIMARY KEY (topic, partition)
);

CREATE TABLE seen (name TEXT COLLATE "C" PRIMARY KEY, at BIGINT NOT NULL);
