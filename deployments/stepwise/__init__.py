"""Text generation one token at a time: requests join and leave a running batch at every step.

``options.py`` what a call asks for beyond ``generate`` → ``admission.py``, ``capture.py`` upstream's own settings for
it, as rows → ``turns.py``, ``room.py`` who is in the batch → ``stepper.py`` prompts and steps of the model, over
``slots.py`` the keys and values of the rows and ``choose.py`` the next token of each → ``text.py``, ``details.py``
tokens as text. ``check.py`` compares it with ``generate`` when a model starts.
"""
