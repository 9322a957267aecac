CREATE TABLE about (name TEXT COLLATE "C" PRIMARY KEY, number BIGINT NOT NULL);
INSERT INTO about VALUES
    ('build', (extract(epoch FROM clock_timestamp()) * 1000000)::bigint), ('complete_from', 0), ('changes', 0);
