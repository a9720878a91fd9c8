"""The Lua scripts and their typed calls, keys, and the stored forms of records."""
