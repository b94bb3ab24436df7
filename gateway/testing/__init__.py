"""Fault tools, emulator kit and contract suites: shipped, so that adapter authors test with the same."""
