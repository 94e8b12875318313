"""The contract's own services, `elman.v1`: messages in, messages out."""
