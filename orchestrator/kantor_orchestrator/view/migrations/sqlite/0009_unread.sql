-- Decisions that count, or may, and could not be read when it was their turn. Of a transaction: where the first of them is, and
-- why. Of a shard: how many, and the first. prefix: with which bytes decisions of the epoch in force begin, in hexadecimal.
ALTER TABLE transactions ADD COLUMN unread TEXT NOT NULL DEFAULT '';
ALTER TABLE positions ADD COLUMN prefix TEXT NOT NULL DEFAULT '';
CREATE TABLE unread (
    shard INTEGER PRIMARY KEY,
    count INTEGER NOT NULL,
    place TEXT NOT NULL,
    transaction_id TEXT NOT NULL, -- empty: it does not say
    reason TEXT NOT NULL,
    at INTEGER NOT NULL
) STRICT;
