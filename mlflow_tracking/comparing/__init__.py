"""Which is better: of several systems, of several judges, of a judge then and now?"""
