"""The data plane: the listener through which clients reach their runtimes (docs/connect.md)."""
