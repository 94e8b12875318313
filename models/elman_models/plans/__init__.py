"""Execution plans: the ways to run a batch, of which the fastest is chosen by measurement."""
