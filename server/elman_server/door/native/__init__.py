"""The native door: gRPC's C++ server inside the process (`elman-native`).

Touched here: its events and columns. Frames of one row are taken in and answered together, without Python per message.
"""
