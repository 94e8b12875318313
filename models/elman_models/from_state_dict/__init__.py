"""A state_dict into a spec and weights, from names, shapes and order; of a checkpoint or a TorchScript archive, of
which nothing is run."""
