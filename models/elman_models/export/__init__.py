"""A module of the author's as a graph: exported on the author's machine, translated node by node, proved."""
