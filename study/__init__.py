"""What an analysis leaves: tables, findings, a configuration and provenance, saved, loaded and shown in one way."""
