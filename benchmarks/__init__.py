"""Everything that measures speed: commands here, what they are made of in parts/."""
