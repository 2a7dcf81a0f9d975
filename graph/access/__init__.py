"""Who may ask: API keys with limits of their own, and whether the server may be open. See ``docs/security.md``."""
