-- no is not in every index by itself, as it is with SQLite.
CREATE INDEX transactions_by_saga ON transactions (saga, no);
CREATE INDEX transactions_by_start ON transactions (started_at);
CREATE INDEX transactions_with_why ON transactions (no) WHERE last_error <> '' OR reason <> '';
CREATE INDEX transactions_with_incidents ON transactions (no) WHERE open_incidents > 0;
