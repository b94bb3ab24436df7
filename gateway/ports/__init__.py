"""All that an author of an adapter, a store or a transport has to read. The docstrings are the contract."""
