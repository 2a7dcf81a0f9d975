"""The OpenAI routes: ``/v1/…`` for all models, ``/models/{name}/v1/…`` for one. See ``docs/openai.md``."""
