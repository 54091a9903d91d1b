"""WHEN: from a case file to finished files, and the command line."""
