"""The audit trail: who did what (docs/audit.md)."""
