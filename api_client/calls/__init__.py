"""The run API's calls: arguments in, a `Call` out."""
