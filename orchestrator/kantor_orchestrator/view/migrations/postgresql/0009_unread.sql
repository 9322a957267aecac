-- Decisions that count, or may, and could not be read when it was their turn. Of a transaction: where the first of them is, and
-- why. Of a shard: how many, and the first. prefix: with which bytes decisions of the epoch in force begin, in hexadecimal.
ALTER TABLE transactions ADD COLUMN unread TEXT COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE positions ADD COLUMN prefix TEXT COLLATE "C" NOT NULL DEFAULT '';
CREATE TABLE unread (
    shard BIGINT PRIMARY KEY,
    count BIGINT NOT NULL,
    place TEXT NOT NULL,
    transaction_id TEXT NOT NULL,
    reason TEXT NOT NULL,
    at BIGINT NOT NULL
);
