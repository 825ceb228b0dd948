"""Make the kustomize base from the Helm chart, or check that it is current. `make check-deploy` installs what it needs.

python tools/kustomize_base.py [--check]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import helm_python
import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ROOT = Path(__file__).resolve().parent.parent
CHART = ROOT / "deploy/helm"
VALUES = ROOT / "deploy/kustomize/values.yaml"
BASE = ROOT / "deploy/kustomize/base/ilab-chat.yaml"
HEAD = "# Made from the Helm chart by tools/kustomize_base.py; edit that and deploy/kustomize/values.yaml instead.\n"

#: Labels that are true of a release of Helm only.
HELM_LABELS = ("app.kubernetes.io/managed-by", "helm.sh/chart")


def main(arguments: Sequence[str]) -> int:
    """Write the base, or compare it; return the exit code."""
    parser = argparse.ArgumentParser(description="Make the kustomize base from the Helm chart.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if the base differs")
    text = base()
    if not parser.parse_args(arguments).check:
        BASE.write_text(text, encoding="utf-8")
        return 0
    if BASE.is_file() and BASE.read_text(encoding="utf-8") == text:
        return 0
    sys.stderr.write(f"{BASE.relative_to(ROOT)} differs from the chart: run make generate-deploy\n")
    return 1


def base() -> str:
    """Return the manifests of the base."""
    objects = rendered(yaml.safe_load(VALUES.read_text(encoding="utf-8")))
    return HEAD + "---\n".join(
        yaml.safe_dump(without_helm(each), sort_keys=False, default_flow_style=False) for each in objects
    )


def rendered(values: Mapping[str, Any], name: str = "ilab-chat") -> Iterator[dict[str, Any]]:
    """Yield the objects that the chart makes of *values*, sorted by the name of their template.

    Raises:
        helm_python.HelmError: the values do not fit the schema or contradict each other.
    """
    with helm_python.Chart.load(CHART) as chart:
        chart.validate_schema(chart.merge_values(dict(values)))
        texts = chart.render(dict(values), name=name, namespace="chat")
    for template, text in sorted(texts.items()):
        if template.endswith(".yaml"):
            yield from (each for each in yaml.safe_load_all(text) if each)


def without_helm(node: Any) -> Any:
    """Return *node* without the labels of Helm."""
    if isinstance(node, list):
        return [without_helm(each) for each in node]
    if isinstance(node, dict):
        return {key: without_helm(value) for key, value in node.items() if key not in HELM_LABELS}
    return node


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
