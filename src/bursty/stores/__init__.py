"""Adapters of the blob and state ports."""
