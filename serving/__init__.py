"""Tables in and out, and the command line."""
