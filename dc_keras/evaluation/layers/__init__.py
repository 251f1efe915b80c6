"""Linear probes of all layers of a network: what each of them knows, and which one to take."""
