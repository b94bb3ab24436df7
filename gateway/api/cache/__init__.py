"""HTTP caching of reads: what is stored, for whom, and which request may be answered from it."""
