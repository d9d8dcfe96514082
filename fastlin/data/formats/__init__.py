"""The kinds of file that data come in, a module each."""
