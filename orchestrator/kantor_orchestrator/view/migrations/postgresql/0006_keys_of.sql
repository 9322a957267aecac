-- What a transaction is known by, for lists: its keys by its number.
CREATE INDEX keys_of ON keys (no);
