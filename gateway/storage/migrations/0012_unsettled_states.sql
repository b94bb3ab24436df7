-- readable-from: 9
-- SQLite builds a temporary table for each IN of more than two values, in every insert and update, and uses a partial
-- index only for a query that states its condition in the same words (gateway/storage/sql.py: any_state).
DROP INDEX intents_with_a_name;

CREATE UNIQUE INDEX intents_with_a_name ON intents (namespace, kind, name)
    WHERE (state = 'absent' OR state = 'open' OR state = 'parked' OR state = 'unknown') AND superseded_by IS NULL;

DROP INDEX intents_unsettled;

CREATE INDEX intents_unsettled ON intents (state, created_at)
    WHERE (state = 'open' OR state = 'parked' OR state = 'unknown');
