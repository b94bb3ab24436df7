"""The interfaces that the author of an adapter, a store or a transport implements. The docstrings are the contract."""
