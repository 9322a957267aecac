CREATE TABLE holds (
    saga TEXT COLLATE "C" NOT NULL,
    shard BIGINT NOT NULL,
    reason TEXT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (saga, shard)
);

ALTER TABLE transactions ADD COLUMN held TEXT COLLATE "C" NOT NULL DEFAULT '';
