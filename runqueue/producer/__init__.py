"""The queue as a producer has it: enqueuing, uploads, waiting and listening."""
