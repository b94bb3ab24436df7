"""The contract suite of adapters, the emulator kit and its faults, shipped for the authors of adapters."""
