"""Everything that measures speed; run by hand, never by a test."""
