"""Room 3, sessions: an id becomes a slot; ownership, positions, handles, expiry, replay of held answers.

Touched here: columns by slot, on the engine's thread. No torch, no gRPC.
"""
