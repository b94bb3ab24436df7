-- readable-from: 5
ALTER TABLE intents ADD COLUMN lifetime DOUBLE PRECISION;

CREATE TABLE ends (
    provider TEXT NOT NULL,
    runtime_id TEXT NOT NULL,
    scope TEXT NOT NULL,
    name TEXT,
    principal TEXT NOT NULL,
    due_at DOUBLE PRECISION NOT NULL,
    look_at DOUBLE PRECISION NOT NULL,
    instance TEXT,
    PRIMARY KEY (provider, runtime_id)
);

CREATE INDEX ends_to_look_at ON ends (look_at);
