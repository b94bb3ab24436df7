-- readable-from: 5
CREATE TABLE places (
    id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    provider TEXT NOT NULL,
    scope TEXT NOT NULL,
    name TEXT,
    runtime_id TEXT,
    running INTEGER NOT NULL,
    changed_at DOUBLE PRECISION NOT NULL
);

CREATE INDEX places_of_an_owner ON places (owner);

CREATE INDEX places_of_a_runtime ON places (provider, runtime_id);

CREATE TABLE place_owners (
    owner TEXT PRIMARY KEY,
    counted_at DOUBLE PRECISION
);
