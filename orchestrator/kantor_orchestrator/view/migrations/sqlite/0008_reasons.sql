-- What could not be journaled is told by topic and reason.
DROP TABLE uncorrelated;
CREATE TABLE uncorrelated (
    topic TEXT NOT NULL,
    intake TEXT NOT NULL,
    count INTEGER NOT NULL,
    reason TEXT NOT NULL,
    sample TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (topic, intake, reason)
) STRICT, WITHOUT ROWID;
