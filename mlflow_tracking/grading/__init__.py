"""What would people give? Rows drawn by chance, their grades, and what these say of all rows."""
