"""Spec strings: `'rope(theta=500.0)'`, and patterns of them, `'(rope)*3, none'`."""

import ast


def parse(spec: str) -> tuple[str, dict]:
    """`'rope(theta=500.0)'` -> `('rope', {'theta': 500.0})`."""
    (found,) = pattern(spec)
    return found


def pattern(text: str) -> list[tuple[str, dict]]:
    """The specs that the layers take in turn; one for a plain spec."""
    return _expand(ast.parse(text.strip(), mode="eval").body)


def _expand(node) -> list[tuple[str, dict]]:
    if isinstance(node, ast.Name):
        return [(node.id, {})]
    if isinstance(node, ast.Call):
        return [(node.func.id, {keyword.arg: ast.literal_eval(keyword.value) for keyword in node.keywords})]
    if isinstance(node, ast.Tuple):
        return [spec for element in node.elts for spec in _expand(element)]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        if isinstance(node.left, ast.Constant):
            return node.left.value * _expand(node.right)
        return _expand(node.left) * node.right.value
    raise ValueError(ast.dump(node))


def distinct(specs: list) -> list:
    """Each once, in order of first appearance."""
    found = []
    for spec in specs:
        if spec not in found:
            found.append(spec)
    return found
