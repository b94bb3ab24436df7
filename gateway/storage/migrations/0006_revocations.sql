-- readable-from: 5
CREATE TABLE revocations (
    runtime_id TEXT NOT NULL,
    principal TEXT NOT NULL,
    generation BIGINT NOT NULL,
    revoked_at DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (runtime_id, principal)
);
