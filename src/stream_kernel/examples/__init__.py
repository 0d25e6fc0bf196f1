"""Complete programs on the kernel, each a package of its own with its configuration beside it."""
