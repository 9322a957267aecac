-- The history is a log of decisions. Of its partitions, epoch: whose decisions count (its record's offset; -1: none was seen).
-- entry: the last entry of the journal that the engine is known to have looked at (-1: none); of the journal's partitions, as
-- its group says.
ALTER TABLE positions ADD COLUMN epoch BIGINT NOT NULL DEFAULT -1;
ALTER TABLE positions ADD COLUMN entry BIGINT NOT NULL DEFAULT -1;

-- The transaction's last entry in the journal; -1: none was seen.
ALTER TABLE transactions ADD COLUMN entry BIGINT NOT NULL DEFAULT -1;
