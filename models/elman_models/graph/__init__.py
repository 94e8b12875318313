"""A model as a graph: named nodes of a closed vocabulary between named inputs, states and outputs (bundle format 2).

Nothing of it is the author's code: a node says which operation of `operations/` it is, with which parameters, and which
tensors of the file are its weights.
"""
