"""Room 4, scheduling: ready chunks become the next batch: tables of numbers, no torch, no gRPC, no clock of its own.

Touched here: chunks and their queues, on the engine's thread.
"""
