"""What does MLflow get of a run, and what comes back?"""
