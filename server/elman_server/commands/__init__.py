"""The commands of `elman-server`, one a file: each adds its options and runs."""
