"""What elman claims about speed, as commands: `python -m bench`."""
