"""What runtimes hold."""
