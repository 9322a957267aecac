-- Sagas that a person holds (empty: all of them), as each shard has carried it out.
CREATE TABLE holds (
    saga TEXT NOT NULL,
    shard INTEGER NOT NULL,
    reason TEXT NOT NULL, -- who holds it, and why; empty: released
    at INTEGER NOT NULL,
    PRIMARY KEY (saga, shard)
) STRICT, WITHOUT ROWID;

-- Who holds this transaction, and why; empty: nobody.
ALTER TABLE transactions ADD COLUMN held TEXT NOT NULL DEFAULT '';
