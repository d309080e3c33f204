"""Which system is better, and is a run good enough?"""
