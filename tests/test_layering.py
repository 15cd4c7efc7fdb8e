"""A variant file stands on its base and never on a sibling, so that one can be added or removed alone."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "transformer_jax"
AXES = ("position", "residual", "mixer", "weighting", "ffn", "norm", "embedding", "head", "adapter")
SHARED = {
    f"transformer_jax.{name}"
    for name in ("registry", "shapes", "errors", "model.base", "model.attend", "model.products")
}
SHARED |= {"transformer_jax.model.recurrence", *(f"transformer_jax.model.{axis}" for axis in AXES)}
FILES = [path for axis in AXES for path in sorted((ROOT / "model" / axis).glob("*.py"))]


def is_variant(path: Path) -> bool:
    return "s.register(" in path.read_text()


@pytest.mark.parametrize(
    "path", [path for path in FILES if is_variant(path)], ids=lambda p: f"{p.parent.name}-{p.stem}"
)
def test_a_variant_imports_no_sibling(path):
    """Only what registers nothing: the base, and the forms that several share."""
    shared = [other for other in FILES if other.parent == path.parent and not is_variant(other)]
    own = {f"transformer_jax.model.{path.parent.name}.{other.stem}" for other in shared}
    imports = {node.module for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)}
    assert {module for module in imports if module.startswith("transformer_jax")} <= SHARED | own


@pytest.mark.parametrize("folder", ["configs", "experiments"])
def test_configs_and_experiments_import_only_what_users_may(folder):
    allowed = {"configs": {"transformer_jax", "transformer_jax.config"}}
    allowed["experiments"] = allowed["configs"] | {"transformer_jax.study"}
    for path in sorted((ROOT.parent / folder).glob("*.py")):
        tree = ast.parse(path.read_text())
        imports = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert {module for module in imports if module.startswith("transformer_jax")} <= allowed[folder], path
