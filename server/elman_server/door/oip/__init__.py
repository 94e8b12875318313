"""The Open Inference Protocol's surface: `inference.GRPCInferenceService` over the same rooms as `elman.v1`."""
