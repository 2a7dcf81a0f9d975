"""What crosses a handle survives it, and files do so without a copy in the pickle."""

import copy
import pickle

import pytest

from deployments.payload import Media, TaskRequest

FILE = Media(b"\x89PNG" + bytes(100_000), "image", "inputs[1].image")


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_file_survives_pickling(protocol: int) -> None:
    request = TaskRequest({"image": [FILE, FILE], "question": "?"}, {"top_k": 1}, "id", True)
    again = pickle.loads(pickle.dumps(request, protocol))
    assert again == request
    assert type(again.inputs["image"][0].data) is bytes
    assert copy.deepcopy(request) == request


def test_a_file_stays_out_of_the_pickle_where_its_bytes_can_travel_beside_it() -> None:
    buffers: list[pickle.PickleBuffer] = []
    stream = pickle.dumps(TaskRequest(FILE), 5, buffer_callback=buffers.append)
    assert len(stream) < 1000
    assert bytes(buffers[0]) == FILE.data
    # what arrives is a view of memory that is not ours to keep
    assert pickle.loads(stream, buffers=[memoryview(bytearray(FILE.data))]).inputs == FILE
