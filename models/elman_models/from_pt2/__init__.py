"""Files of torch.export.save (.pt2) read as data and made a module of torch's own operations: nothing in them is run,
unpickled or evaluated."""
