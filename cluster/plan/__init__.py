"""What a model needs, before it is started: from its configuration and the headers of its weights alone.

source.py   config.json and safetensors headers
empty.py    the model without weights, on torch's meta device: bytes of weights, key-value cache, activations
gpus.py     known GPUs; how many of one kind a model needs, and what goes where
capacity.py a Ray cluster or this machine: what is free, and what would wait
report.py   all of it in words, with the configuration to paste
cli.py      `pipeline-graph plan`
"""
