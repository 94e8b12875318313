"""How steps travel: chunks are gathered into frames, sent over one stream, and sent again over a cut.

`driver.py` is where to begin. It imports `elman._shared` alone, and knows nothing of what a user calls.
"""
