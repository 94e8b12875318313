"""Room 5, engine: take in, schedule, run, commit, answer; the only owner of device, pool and sessions.

Touched here: everything that belongs to a loaded model, by one thread.
"""
