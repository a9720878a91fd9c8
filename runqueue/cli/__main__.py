"""`python -m runqueue.cli`"""

from runqueue.cli import main

if __name__ == "__main__":
    main()
