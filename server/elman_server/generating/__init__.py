"""Room 5, beside the engine: sessions that are fed what they gave, and what is scored. On the engine's thread; the
door asks and listens."""
