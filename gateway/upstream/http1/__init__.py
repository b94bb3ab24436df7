"""An HTTP/1.1 client for one provider: requests over pooled connections, each response read by its own parser.

It does only what a gateway needs: no redirects, no cookies, no proxies of the environment, no header of its own accord,
and nothing is sent twice. See docs/adr/0022-http1-client.md.
"""
