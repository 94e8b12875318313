"""What is asked of whole sessions, and what is told of them; whatever it travels as.

Touched here: ids, states as NumPy arrays, plain values.
"""
