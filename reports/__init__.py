"""What is seen: tables and figures of what the analyses found."""
