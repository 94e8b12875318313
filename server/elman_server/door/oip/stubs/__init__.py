"""Generated from proto/inference; imported by the surface's own modules alone."""
