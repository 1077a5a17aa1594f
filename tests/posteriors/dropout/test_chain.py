"""Tracing a network, while other threads use theirs."""

import threading

import torch
from torch import nn

from baldur.posteriors import MCDropout

X = torch.zeros(3, 4)


def mlp():
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))


def test_other_threads_use_their_networks_while_one_is_traced():
    stop, errors = threading.Event(), []

    def call():
        network = mlp()
        while not stop.is_set():
            try:
                assert isinstance(network(X), torch.Tensor)
            except BaseException as error:
                errors.append(error)
                return

    threads = [threading.Thread(target=call) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(30):
        MCDropout(mlp()).plan(X)
    stop.set()
    for thread in threads:
        thread.join()
    assert errors == []
