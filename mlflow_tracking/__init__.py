"""Everything that knows MLflow, and the judging of a CSV's rows."""
