"""How is one row judged, and how are many? No MLflow and no command line here."""
