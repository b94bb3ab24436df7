"""Fault tools, the emulator kit and the contract suites. They are shipped so that authors of adapters use the same."""
