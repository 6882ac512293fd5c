"""Fidelity: what the models of the engine say, scored against what real recordings show."""
