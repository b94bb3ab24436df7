"""Access: what each caller may see and do (docs/access.md)."""
