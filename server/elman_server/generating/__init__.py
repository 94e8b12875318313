"""Room 5, beside the engine: sessions that are fed what they gave. Touched on the engine's thread alone; the door asks
and listens."""
