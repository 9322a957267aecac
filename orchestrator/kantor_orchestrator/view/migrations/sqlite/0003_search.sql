-- What people search a million transactions by. Each index answers with numbers, the newest first; what it does not know is
-- looked at in the rows. Open ones and those of rare statuses have transactions_by_status.

CREATE INDEX transactions_by_saga ON transactions (saga);
CREATE INDEX transactions_by_start ON transactions (started_at);
CREATE INDEX transactions_with_why ON transactions (no) WHERE last_error <> '' OR reason <> '';
CREATE INDEX transactions_with_incidents ON transactions (no) WHERE open_incidents > 0;
