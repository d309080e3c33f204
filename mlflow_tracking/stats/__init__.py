"""How sure is a number? Numbers in, estimates out."""
