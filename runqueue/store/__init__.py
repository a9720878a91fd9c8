"""The Lua scripts and their typed calls, keys, and the form in which things are stored."""
