"""What operators do to many jobs at once: select, cancel, replay, deliver again."""
