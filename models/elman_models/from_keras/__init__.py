"""A .keras or .h5 file of Keras as a bundle: its layers by a closed table as torch's modules, its weights as numbers;
Keras itself is not needed, and nothing in the file is run."""
