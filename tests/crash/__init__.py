"""The crash test: real workers and schedulers, killed, stalled and cut off on purpose; see ``driver``."""
