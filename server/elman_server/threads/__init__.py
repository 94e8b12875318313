"""Threads: what one leaves for another to do, how that ends, and the clock that all read.

Touched here: functions and futures. Nothing of what elman is about.
"""
