"""Generation: from what a model gave to what it is fed next. NumPy alone, no state: whoever generates keeps that."""
