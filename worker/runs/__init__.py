"""Reading one run (`read_run.py`), the account's runs (`listed_runs.py`), and finding lost ones."""
