"""Endpoints behind HTTP: a server that never runs user code, what it falls back on, and what it remembers."""
