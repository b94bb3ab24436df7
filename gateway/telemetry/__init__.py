"""What is seen of the gateway: log events and metrics, their names in one place."""
