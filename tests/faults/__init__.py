"""What a run survives: faults in real processes, by `make faults`."""
