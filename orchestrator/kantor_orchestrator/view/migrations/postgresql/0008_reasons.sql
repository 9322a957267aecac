-- What could not be journaled is told by topic and reason.
DROP TABLE uncorrelated;
CREATE TABLE uncorrelated (
    topic TEXT COLLATE "C" NOT NULL,
    intake TEXT COLLATE "C" NOT NULL,
    count BIGINT NOT NULL,
    reason TEXT COLLATE "C" NOT NULL,
    sample TEXT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (topic, intake, reason)
);
