"""What is asked: datasets, templates and label words, demonstrations, and token-exact prompts."""
