"""HTTP caching of reads: what is stored, for whom, and what a request may be answered with."""
