"""Parameters in files: a layer stays whole."""

from __future__ import annotations

from flywheel_jobs.trainer.groups import grouped

SIZES = {"model.embed": 5, "model.layers.0.a": 3, "model.layers.0.b": 3, "model.layers.1.a": 3, "model.norm": 1}


def test_a_group_holds_no_more_than_its_limit_where_layers_allow_it() -> None:
    assert list(grouped(SIZES, 7)) == [
        ["model.embed"],
        ["model.layers.0.a", "model.layers.0.b"],
        ["model.layers.1.a", "model.norm"],
    ]


def test_a_layer_stays_whole_even_above_the_limit() -> None:
    """Its published form may be made of several of its parameters."""
    assert ["model.layers.0.a", "model.layers.0.b"] in list(grouped(SIZES, 1))


def test_no_name_is_lost_and_layers_that_stand_apart_come_together() -> None:
    apart = {"layers.0.a": 1, "layers.1.a": 1, "layers.0.b": 1}
    assert list(grouped(apart, 2)) == [["layers.0.a", "layers.0.b"], ["layers.1.a"]]
