"""What developers run on the tree; not in the wheel."""
