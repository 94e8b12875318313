"""The command line of `elman-server`: what a person types, one command a file: each adds its options and runs."""
