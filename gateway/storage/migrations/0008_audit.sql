-- readable-from: 5
CREATE TABLE audit_events (
    id TEXT PRIMARY KEY,
    principal TEXT,
    runtime_id TEXT,
    action TEXT NOT NULL,
    outcome TEXT NOT NULL,
    document TEXT NOT NULL
);

CREATE INDEX audit_events_of_a_principal ON audit_events (principal, id) WHERE principal IS NOT NULL;

CREATE INDEX audit_events_of_a_runtime ON audit_events (runtime_id, id) WHERE runtime_id IS NOT NULL;

CREATE INDEX audit_events_of_an_action ON audit_events (action, id);

CREATE INDEX audit_events_by_outcome ON audit_events (outcome, id);
