"""A streaming graph said in ONNX, for the plan that runs it whole: a set of the vocabulary, on equally long rows.

Nothing here imports onnx: a graph is records until `graph/ort.py` makes a model of it, so that whether one can be said
is known without the package, which is an optional extra.
"""
