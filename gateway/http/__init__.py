"""What every inbound listener needs: problems, request ids, the access log, bounds of head and body, the server."""
