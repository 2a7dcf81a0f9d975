"""``make chaos``: good, malformed, oversized, slow and leaving clients at once, while replicas are killed.

``python -m tests.chaos`` starts a server in a process of its own, and shows what became of every request, whether each
good one was answered rightly, and what the server's processes hold before and after.
"""
