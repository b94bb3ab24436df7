"""One folder per provider API; ``registry`` finds them."""
