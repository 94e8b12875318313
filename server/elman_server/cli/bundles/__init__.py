"""Commands on bundles, which need no server: pack, check, plans."""
