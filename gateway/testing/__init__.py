"""The kit from which the emulators of the adapters are made, and the faults that they simulate."""
