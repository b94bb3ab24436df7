-- readable-from: 4
CREATE TABLE principals (
    name TEXT PRIMARY KEY,
    template TEXT,
    disabled INTEGER NOT NULL,
    created_at DOUBLE PRECISION NOT NULL
);

CREATE TABLE api_keys (
    id TEXT PRIMARY KEY,
    digest BYTEA NOT NULL UNIQUE,
    prefix TEXT NOT NULL,
    principal TEXT NOT NULL,
    name TEXT,
    scopes TEXT NOT NULL,
    created_at DOUBLE PRECISION NOT NULL,
    expires_at DOUBLE PRECISION,
    last_used_at DOUBLE PRECISION
);

CREATE INDEX api_keys_of_a_principal ON api_keys (principal);

CREATE INDEX api_keys_by_end ON api_keys (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE owners (
    runtime_id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    assigned_by TEXT NOT NULL,
    assigned_at DOUBLE PRECISION NOT NULL
);

CREATE TABLE access_version (
    one INTEGER PRIMARY KEY,
    version TEXT NOT NULL
);
