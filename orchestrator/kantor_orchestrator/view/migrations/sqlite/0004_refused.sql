-- Topics that intake may see but not read, and when it last said so (entry time, ms): it says so with every watermark.
CREATE TABLE refused (
    topic TEXT PRIMARY KEY,
    reason TEXT NOT NULL,
    at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
