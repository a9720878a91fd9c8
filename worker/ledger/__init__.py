"""`runqueue ledger`: our runs beside those that Skyvern lists for the account."""
