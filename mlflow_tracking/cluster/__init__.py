"""How is more judged than one machine holds? On Ray Data."""
