"""The commands of `gemma-operator`, one module each: they read input, call the rooms below and print.

A module exposes `register(subparsers)`; the parser it adds sets `run`, a callable from parsed arguments to an
exit code (0 done or fits, 1 refused, 2 bad input). Presentation lives here and nowhere below.
"""
