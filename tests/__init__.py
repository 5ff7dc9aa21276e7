"""A package of its own name, as iterative-stratification installs another `tests`."""
