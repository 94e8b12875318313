"""elman's server: gRPC inference for stacked recurrent networks with the state kept between calls."""
