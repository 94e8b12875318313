"""The Python SDK of elman, the inference server for stacked recurrent networks."""
