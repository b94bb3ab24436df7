"""The domain model: values, states, requests, pages and errors. No I/O and no HTTP."""
