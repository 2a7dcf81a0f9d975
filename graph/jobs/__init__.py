"""Jobs: a model over more data than one machine holds, on Ray Data; answers as the server gives them.

``pipeline-graph batch`` (`graph.jobs.command`) reads files and writes files, and goes on where it was interrupted;
`graph.map_dataset` is the same over a Ray Dataset.
"""
