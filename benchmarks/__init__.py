"""How fast and how good are judge, client and server? Commands here, their parts in parts/."""
