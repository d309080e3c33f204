"""What does a model under test answer? Every answer asked for once, and kept."""
