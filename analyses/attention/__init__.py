"""Where attention goes: shares on the parts of a prompt, and maps of one query."""
