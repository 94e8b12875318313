"""What tools ask of this surface: configurations, the folder of models, statistics."""
