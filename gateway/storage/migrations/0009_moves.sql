-- readable-from: 9
CREATE TABLE moves (
    id TEXT PRIMARY KEY,
    state TEXT NOT NULL,
    principal TEXT NOT NULL,
    source TEXT NOT NULL,
    source_scope TEXT,
    target TEXT NOT NULL,
    request BYTEA NOT NULL,
    digest TEXT,
    details TEXT NOT NULL,
    announced_at DOUBLE PRECISION,
    holder TEXT,
    lease_until DOUBLE PRECISION,
    created_at DOUBLE PRECISION NOT NULL,
    updated_at DOUBLE PRECISION NOT NULL
);

CREATE INDEX moves_by_state ON moves (state);

CREATE TABLE move_items (
    move_id TEXT NOT NULL,
    position INTEGER NOT NULL,
    provider TEXT NOT NULL,
    scope TEXT NOT NULL,
    provider_id TEXT NOT NULL,
    runtime_id TEXT NOT NULL,
    name TEXT,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    plan BYTEA NOT NULL,
    step TEXT NOT NULL,
    details TEXT NOT NULL,
    target_scope TEXT,
    target_id TEXT,
    target_runtime_id TEXT,
    PRIMARY KEY (move_id, position)
);

CREATE INDEX move_items_by_state ON move_items (move_id, state, position);

CREATE TABLE runtime_holds (
    provider TEXT NOT NULL,
    runtime_key TEXT NOT NULL,
    mover TEXT,
    mover_until DOUBLE PRECISION,
    writers TEXT NOT NULL,
    PRIMARY KEY (provider, runtime_key)
);

CREATE TABLE relocations (
    source TEXT NOT NULL,
    source_scope TEXT NOT NULL,
    source_id TEXT NOT NULL,
    source_runtime_id TEXT NOT NULL,
    name TEXT,
    kind TEXT NOT NULL,
    target TEXT NOT NULL,
    target_scope TEXT NOT NULL,
    target_id TEXT NOT NULL,
    target_name TEXT,
    target_runtime_id TEXT NOT NULL,
    runtime_id TEXT NOT NULL,
    source_instance TEXT,
    target_instance TEXT,
    move_id TEXT NOT NULL,
    removed INTEGER NOT NULL,
    change BIGINT NOT NULL,
    PRIMARY KEY (source, source_id)
);

CREATE INDEX relocations_by_target ON relocations (target, target_id);

CREATE INDEX relocations_by_change ON relocations (change);

CREATE TABLE relocation_changes (
    one INTEGER PRIMARY KEY,
    change BIGINT NOT NULL
);
