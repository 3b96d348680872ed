"""The command line: the same core, without a cluster. Each command is a thin shell around a pure function."""
