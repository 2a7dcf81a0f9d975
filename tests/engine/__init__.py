"""The stages of a replica with real models, without Ray."""
