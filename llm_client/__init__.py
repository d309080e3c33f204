"""Everything that speaks HTTP to the judge's server."""
