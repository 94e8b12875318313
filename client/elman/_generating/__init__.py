"""Sessions that the server feeds with what they gave: what is asked, how it is read over cuts, and as an iterator."""
