import pytest

from transformer_jax.errors import UserError
from transformer_jax.study import Grid, Point, chain, fixed, param, point, product, zip_

A = param("model.heads", [1, 2])
B = param("model.position", ["none", "rope(theta=1e4)"])
C = param("model.residual", ["pre", "post"])


def test_param_labels_and_sets():
    assert B.labels == ("position=none", "position=rope(theta=1e4)")
    assert B.points[0].overrides == (("model.position", "none"),)
    assert param("model.position", ["none"], name="").labels == ("none",)


def test_product_is_every_combination_and_associative_with_a_unit():
    assert product(A, B).labels[:2] == ("heads=1, position=none", "heads=1, position=rope(theta=1e4)")
    assert len(product(A, B, C)) == 8
    assert product(A, product(B, C)) == product(product(A, B), C) == product(A, B, C)
    assert product(A) == A == product(A, product()) == product(product(), A)
    assert product(A, chain()) == chain()


def test_chain_is_associative_with_a_unit_and_product_distributes_over_it():
    assert chain(A, chain(B, C)) == chain(chain(A, B), C) == chain(A, B, C)
    assert chain(A, chain()) == A
    assert product(chain(A, B), C) == chain(product(A, C), product(B, C))


def test_zip_merges_point_by_point():
    assert zip_(A, C).labels == ("heads=1, residual=pre", "heads=2, residual=post")
    with pytest.raises(UserError, match=r"equal length, not of \[2, 1\]"):
        zip_(A, point("x"))


def test_fixed_sets_without_labelling():
    grid = product(fixed({"model.layers": 2}), A)
    assert grid.labels == A.labels
    assert dict(grid.points[1].overrides) == {"model.layers": 2, "model.heads": 2}


def test_points_are_values():
    one = Point("x", (("a.b", 1), ("a.a", 2)))
    assert one == Point("x", (("a.a", 2), ("a.b", 1)))
    assert hash(one) == hash(Point("x", (("a.a", 2), ("a.b", 1))))
    assert hash(A) == hash(param("model.heads", [1, 2]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: chain(A, A), "two points of the grid are labelled 'heads=1'"),
        (lambda: chain(A, point("one", {"model.heads": 1})), "'heads=1' and 'one' of the grid are the same"),
        (lambda: product(A, param("model.heads", [4], name="again")), "sets model.heads twice"),
        (lambda: point("x", {"model.heads": [1]}), r"model.heads=\[1\]: give a text"),
        (lambda: point("two\nlines"), "one line"),
        (lambda: point("x" * 61), "at most 60"),
        (lambda: Grid((Point("a"), Point("b"))), "set nothing"),
    ],
)
def test_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()
