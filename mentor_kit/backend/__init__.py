"""The contract of backends, and the kit that every backend is built from."""
