-- readable-from: 9
CREATE TABLE kept_creates (
    provider TEXT NOT NULL,
    runtime_id TEXT NOT NULL,
    scope TEXT NOT NULL,
    kind TEXT,
    name TEXT,
    namespace TEXT,
    intent_id TEXT,
    principal TEXT,
    created_at DOUBLE PRECISION,
    request BYTEA,
    config BYTEA,
    deleted INTEGER NOT NULL,
    kept_at DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (provider, runtime_id)
);

CREATE INDEX kept_creates_by_age ON kept_creates (kept_at);

CREATE INDEX intents_of_a_runtime ON intents (provider, runtime_id) WHERE runtime_id IS NOT NULL;
