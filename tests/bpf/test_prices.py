"""What the benchmark measures of a feature is that feature: its frames arrive, by the hook that serves it."""

from sriov_xdp.bench import prices


def test_every_feature_has_a_price_by_both_hooks() -> None:
    """measure() itself raises for one whose frames are not forwarded."""
    found = prices.measure("tpr", rounds=2)
    features = [*list(prices.FEATURES)[1:], f"{prices.PLAIN}, again"]
    assert [(hook, feature) for hook in ("tc", "xdp") for feature in features] == [(price.hook, price.feature) for price in found]
    assert all(price.on_ns > 0 and price.off_ns > 0 for price in found)
