"""The store of creates: SQLite for the processes of one machine, PostgreSQL for several replicas."""
