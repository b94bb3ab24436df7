-- readable-from: 1
CREATE TABLE intents (
    id TEXT PRIMARY KEY,
    principal TEXT NOT NULL,
    client_key TEXT,
    namespace TEXT NOT NULL,
    pinned INTEGER NOT NULL,
    provider TEXT NOT NULL,
    scope TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    operation TEXT NOT NULL,
    digest BYTEA NOT NULL,
    digest_version TEXT NOT NULL,
    target TEXT NOT NULL,
    request BYTEA,
    provider_key TEXT,
    generation INTEGER NOT NULL,
    before_send TEXT NOT NULL,
    state TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    holder TEXT,
    lease_until DOUBLE PRECISION,
    due_at DOUBLE PRECISION,
    attempts TEXT NOT NULL,
    looks TEXT NOT NULL,
    outcome BYTEA,
    runtime_id TEXT,
    surplus TEXT NOT NULL,
    reason TEXT,
    superseded_by TEXT,
    created_at DOUBLE PRECISION NOT NULL,
    updated_at DOUBLE PRECISION NOT NULL,
    settled_at DOUBLE PRECISION,
    moved_by TEXT NOT NULL
);

CREATE UNIQUE INDEX intents_of_a_key ON intents (principal, client_key) WHERE client_key IS NOT NULL;

CREATE UNIQUE INDEX intents_with_a_name ON intents (namespace, kind, name)
    WHERE state IN ('open', 'unknown', 'parked', 'absent') AND superseded_by IS NULL;

CREATE INDEX intents_that_had_a_name ON intents (namespace, kind, name, created_at);

CREATE INDEX intents_of_a_pin ON intents (principal, kind, name) WHERE pinned = 1;

CREATE INDEX intents_due ON intents (due_at) WHERE due_at IS NOT NULL;

CREATE INDEX intents_unsettled ON intents (state, created_at) WHERE state IN ('open', 'unknown', 'parked');

CREATE INDEX intents_settled ON intents (settled_at) WHERE settled_at IS NOT NULL;

CREATE INDEX intents_with_surplus ON intents (created_at) WHERE surplus <> '[]';

CREATE INDEX intents_by_age ON intents (created_at, id);

CREATE TABLE pins (
    principal TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    namespace TEXT NOT NULL,
    PRIMARY KEY (principal, kind, name)
);

CREATE TABLE decisions (
    id TEXT PRIMARY KEY,
    at DOUBLE PRECISION NOT NULL,
    operator TEXT NOT NULL,
    intent_id TEXT NOT NULL,
    decision TEXT NOT NULL,
    runtime_id TEXT,
    note TEXT
);

CREATE INDEX decisions_by_age ON decisions (at, id);

CREATE TABLE specs (
    namespace TEXT NOT NULL,
    runtime_id TEXT NOT NULL,
    sealed BYTEA NOT NULL,
    kept_at DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (namespace, runtime_id)
);

CREATE INDEX specs_by_age ON specs (kept_at);
