-- What is known of the view itself. build: another one after each rebuild, so that a writer sees that its rows are not
-- those of this database any more. complete_from: what began before may be missing, Kafka no longer had it (ms; 0: nothing
-- is). changes: PostgreSQL counts here what SQLite counts by itself.
CREATE TABLE about (name TEXT PRIMARY KEY, number INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO about VALUES ('build', abs(random() / 2)), ('complete_from', 0), ('changes', 0);
