"""Where replicas run: resources, scaling, and the command line."""
