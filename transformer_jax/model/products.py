"""Products with parameter matrices, and functions, whose backward pass reads less than the one that JAX derives."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp


@partial(jax.custom_vjp, nondiff_argnums=(0, 3))
def product(equation: str, x, w, preferred=None):
    """`jnp.einsum(equation, x, w)`, such as 'BLD,DF->BLF'.

    JAX derives the gradient of `w` as the product of the result's gradient with `x`, and then swaps their dimensions.
    XLA moves that swap onto the activations: on a CPU it copies them, transposed, which takes longer than the product.
    Here the factors stand in the order in which `w` has their dimensions.

    Args:
      x: activations; a dimension that only they have is kept.
      w: the matrix.
      preferred: dtype of the result; None for that of the factors.
    """
    return jnp.einsum(equation, x, w, preferred_element_type=preferred)


def _forward(equation, x, w, preferred):
    return jnp.einsum(equation, x, w, preferred_element_type=preferred), (x, w)


def _backward(equation, preferred, kept, dy):
    x, w = kept
    factors, of_y = equation.split("->")
    of_x, of_w = factors.split(",")
    dy = dy.astype(jnp.result_type(x, w))
    dx = jnp.einsum(f"{of_y},{of_w}->{of_x}", dy, w).astype(x.dtype)
    # The factor whose dimensions come first in w comes first.
    pair = ((of_x, x), (of_y, dy)) if of_w[0] in of_x else ((of_y, dy), (of_x, x))
    (of_a, a), (of_b, b) = pair
    return dx, jnp.einsum(f"{of_a},{of_b}->{of_w}", a, b).astype(w.dtype)


product.defvjp(_forward, _backward)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def product_of(function: Callable, equation: str, inputs: tuple, w):
    """`product(equation, function(*inputs), w)`, of which `inputs` alone are kept for the backward pass.

    Args:
      function: elementwise, and cheap beside the product: it is computed again.
    """
    return jnp.einsum(equation, function(*inputs), w)


def _forward_of(function, equation, inputs, w):
    return jnp.einsum(equation, function(*inputs), w), (inputs, w)


def _backward_of(function, equation, kept, dy):
    inputs, w = kept
    x, pull = jax.vjp(function, *inputs)
    dx, dw = _backward(equation, None, (x, w), dy)
    return pull(dx), dw


product_of.defvjp(_forward_of, _backward_of)


def keeping_inputs(function: Callable) -> Callable:
    """The same function of arrays, of which nothing but the arguments is kept for the backward pass."""

    @jax.custom_vjp
    def same(*args):
        return function(*args)

    same.defvjp(lambda *args: (function(*args), args), lambda args, dy: jax.vjp(function, *args)[1](dy))
    return same
