"""Compiled containers of numbers: free lists, queues of slots, reference counts; and how they are compiled.

Touched here: NumPy records alone; used by the rooms above, imports none of them.
"""
