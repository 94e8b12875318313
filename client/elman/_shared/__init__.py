"""What all of the SDK stands on: errors, checks of arguments, arrays, descriptions, and the channel with its retries.

Nothing here knows sessions' steps or what a user calls; it imports only the stubs and `elman.wire`.
"""
