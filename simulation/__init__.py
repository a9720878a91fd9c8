"""The whole queue in one process under a virtual clock: one seed is one exact history."""
