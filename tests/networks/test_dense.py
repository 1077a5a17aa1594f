import torch

from baldur import networks


def test_the_head_takes_features_of_any_scale():
    network = networks.head(12, 3).eval()
    x = torch.randn(4, 12)
    torch.testing.assert_close(network(1000 * x), network(x), atol=1e-3, rtol=1e-3)
