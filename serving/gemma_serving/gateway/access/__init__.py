"""Who may ask, how much, and how much was asked."""
