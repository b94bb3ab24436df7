"""What a runtime is: values, states, requests, pages and errors. No I/O and no HTTP."""
