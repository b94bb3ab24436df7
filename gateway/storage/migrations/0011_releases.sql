-- readable-from: 9
CREATE TABLE releases (
    runtime_id TEXT PRIMARY KEY,
    writer TEXT NOT NULL,
    released_at DOUBLE PRECISION NOT NULL
);
