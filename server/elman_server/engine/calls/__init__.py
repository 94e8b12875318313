"""Room 5, beside the loop: what is asked of whole sessions and models, done between two batches.

Touched here: sessions by their directory, models by the catalogue, and a session's queue where a call takes its turn.
"""
