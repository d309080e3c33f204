"""Which judge is to be taken, and is it still the one of the first run?"""
