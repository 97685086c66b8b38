"""What is refused for its content: size, invisible characters, blocked terms, a ShieldGemma guard."""
