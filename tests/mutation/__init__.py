"""Changes the source in one place after another and asks whether a test of the same package notices."""
