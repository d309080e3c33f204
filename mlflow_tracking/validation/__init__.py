"""How far can the judge be trusted?"""
