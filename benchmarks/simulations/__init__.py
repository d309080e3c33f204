"""Do the statistics keep what they promise? Draws of which the truth is known, one command each."""
