"""Room 6, model: which models there are, how they are loaded, and what each owns.

Touched here: bundles, weights, the state pool and the tables of one model version.
"""
