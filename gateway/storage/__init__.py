"""The stores of intents: SQLite for the processes of one machine, PostgreSQL for several replicas, memory for tests."""
