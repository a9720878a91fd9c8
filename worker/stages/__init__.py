"""The stages of a run: submit, poll, list, cancel, reconcile, deliver, sweep."""
