"""HTTP below the routes: bodies, problems, streaming."""
