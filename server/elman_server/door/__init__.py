"""Room 2, door: bytes become columns and columns become bytes; a domain error becomes a status; nothing else.

Touched here: messages, statuses, callers and their limits; streams on the engine's thread, calls on the event loop's.
"""
