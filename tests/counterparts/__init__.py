"""Other people's software, the real thing, with restauth at its door."""
