"""Benchmarks: the local ``pipeline()``, Ray's plain batching example and this project, on the same data in one run.

    python -m benchmarks                 text, image and audio; about ten minutes on two cores
    python -m benchmarks text --scale 0.05 --repeats 1

`comparison.py` is the loop, `text.py`, `image.py` and `audio.py` what is measured, `data.py` and `models.py` what it is
measured with, `local.py` the local side, `server.py` and `load.py` the served one, `report.py` the outcome.
Nothing heavy is imported here: the load client (``python -m benchmarks.load``) must stay light.
"""
