"""Other memories behind the same API as the recipe. Each runs in an environment of its own, see the Makefile."""
