"""Models that do not fit: in fewer bits, spread over devices, on the disk."""
